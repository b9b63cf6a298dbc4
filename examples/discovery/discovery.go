package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/cluster/identitylookup/disthash"
	protoremote "github.com/asynkron/protoactor-go/remote"

	"github.com/castaway-go/castaway/raftcore"
)

// A member of the cluster has a kind for its host, beside those of actors that it runs. Its
// name says it all: castaway-host/3@127.0.0.1:7003. No actor is ever of that kind.
const kindPrefix = "castaway-host/"

func hostKind(id raftcore.NodeID, address string) string {
	return fmt.Sprintf("%s%d@%s", kindPrefix, id, address)
}

// parseHostKind reads what some member says: it may be anything.
func parseHostKind(kind string) (id raftcore.NodeID, address string, err error) {
	name, address, _ := strings.Cut(strings.TrimPrefix(kind, kindPrefix), "@")
	n, err := strconv.ParseUint(name, 10, 64)
	if err == nil {
		_, _, err = net.SplitHostPort(address)
	}
	if err != nil || n == 0 {
		return 0, "", fmt.Errorf("a member of the cluster says %q, which is no host: %v", kind, err)
	}
	return raftcore.NodeID(n), address, nil
}

// discover returns peers with the addresses that the cluster's members say now, and what is
// wrong with the rest. A host that says nothing stays where it was: it may be down, and a
// voter nevertheless. Nor does one move that two members say they are.
func discover(peers map[raftcore.NodeID]string, members cluster.Members) (next map[raftcore.NodeID]string, wrong []error) {
	said := map[raftcore.NodeID]string{}
	doubtful := map[raftcore.NodeID]bool{}
	for _, m := range members {
		for _, kind := range m.Kinds {
			if !strings.HasPrefix(kind, kindPrefix) {
				continue
			}
			id, address, err := parseHostKind(kind)
			switch other, twice := said[id]; {
			case err != nil:
				wrong = append(wrong, err)
			case twice && other != address:
				doubtful[id] = true
				wrong = append(wrong, fmt.Errorf("two members say that they are host %d, at %s and at %s", id, other, address))
			default:
				said[id] = address
			}
		}
	}
	next = map[raftcore.NodeID]string{}
	taken := map[string]bool{}
	for id, address := range said {
		if !doubtful[id] {
			next[id], taken[address] = address, true
		}
	}
	for id, address := range peers {
		if next[id] == "" && !taken[address] { // else it was there, and its port is another's now
			next[id] = address
		}
	}
	return next, wrong
}

// joinCluster makes this process a member of the protoactor cluster, which says where the host
// is, and tells of every change of the members. It has an actor system of its own: a
// system has one address, and the host's is that of remote.Transport.
func joinCluster(id raftcore.NodeID, address string, provider cluster.ClusterProvider, changed func(cluster.Members)) (c *cluster.Cluster, err error) {
	nothing := actor.PropsFromFunc(func(actor.Context) {})
	c = cluster.New(newSystem(), cluster.Configure("castaway-discovery", provider, disthash.New(),
		protoremote.Configure("127.0.0.1", 0), cluster.WithKinds(cluster.NewKind(hostKind(id, address), nothing))))
	c.ActorSystem.EventStream.Subscribe(func(e any) {
		if t, is := e.(*cluster.ClusterTopology); is {
			changed(t.Members)
		}
	})
	defer func() { // it panics when it cannot start
		if reason := recover(); reason != nil {
			err = fmt.Errorf("joining the cluster: %v", reason)
		}
	}()
	c.StartMember()
	return c, nil
}

// leaveCluster has the others know at once. Cluster.Shutdown would do it too, after seconds.
func leaveCluster(c *cluster.Cluster) error {
	err := c.Config.ClusterProvider.Shutdown(true)
	c.Shutdown(false)
	return err
}
