package actors

import "testing"

// P10: these numbers cross the wire, and PROTOCOL.md has them. A later version may have more,
// and none of these for anything else.
func TestP10_NumbersAreWhatTheyWere(t *testing.T) {
	for _, n := range []struct {
		is   Operation
		want uint8
	}{
		{Propose, 1}, {Read, 2}, {ChangeMembers, 16}, {Transfer, 17}, {SkipEntry, 18}, {OpenSession, 32}, {KeepSession, 33}, {CloseSession, 34},
		{orderSessions, 35}, {orderEffects, 48}, {askVersions, 49}, {askCandidate, 50}, {GetStatus, 64}, {AwaitChange, 65},
	} {
		if uint8(n.is) != n.want {
			t.Errorf("operation %d was %d", n.is, n.want)
		}
	}
	for _, n := range []struct {
		is   ResponseOutcome
		want uint8
	}{
		{responseOK, 1}, {responseNotLeader, 2}, {responseRejected, 3}, {responseBusy, 4}, {responseTooLarge, 5}, {responseUnknown, 6}, {responseQueryError, 7}, {responseDiskFull, 8},
		{responseBadMembers, 16}, {responseConfigChanged, 17}, {responseChangeInProgress, 18}, {responseNotCaughtUp, 19}, {responseNotVoter, 20}, {responseTransferFailed, 21},
		{responseNotReady, 22}, {responseNotQuarantined, 23}, {responseNotInPlace, 24},
		{responseSessionExpired, 32}, {responseQuarantined, 33}, {responseSkipped, 34}, {responseNotAllowed, 35},
		{responseOverwritten, 64}, {responseStopped, 65}, {responseFaulted, 66}, {responseTooOld, 67}, {responseBadRequest, 68}, {responseUnreachable, 69}, {responseGone, 70},
		{responseCatchingUp, 71}, {responseRemoved, 72}, {responseNoGroup, 73}, {responseMachineFault, 74}, {responseStorageFault, 75}, {responseInvariantFault, 76}, {responseWitness, 77},
	} {
		if uint8(n.is) != n.want {
			t.Errorf("outcome %d was %d", n.is, n.want)
		}
	}
	for _, n := range []struct{ is, want uint8 }{
		{uint8(Linearizable), 0}, {uint8(Lease), 1}, {uint8(BoundedStale), 2}, {uint8(Local), 3},
		{uint8(SnapshotFrom), 1}, {uint8(SnapshotTaken), 2}, {uint8(SnapshotArrived), 3}, {uint8(SnapshotRefused), 4},
		{uint8(Recovering), 0}, {uint8(Running), 1}, {uint8(Pausing), 2}, {uint8(Faulted), 3}, {uint8(Stopped), 4},
	} {
		if n.is != n.want {
			t.Errorf("%d was %d", n.is, n.want)
		}
	}
}
