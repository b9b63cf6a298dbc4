// Package remote is the wire between hosts: an actors.Transport on protoactor
// remote.
//
//	host, err := actors.Start(system, actors.HostConfig{
//		Transport: remote.New(remote.Config{Listen: "10.0.0.1:7001", TLS: &remote.TLS{
//			CertFile: "cert.pem", KeyFile: "key.pem", CAFile: "ca.pem",
//		}}),
//		…
//	})
//
// A process that is no host, and has no disk, asks groups with the same calls:
//
//	hosts, err := remote.Dial(remote.ClientConfig{Seeds: []string{"10.0.0.1:7001"}})
//	counter := hosts.Group("counter") // an *actors.Client
//	answer, err := counter.Propose(ctx, []byte("+1"))
//
// It needs no port, and no actor system. The hosts say with Config.MaxClients how many such
// processes they serve; they serve none by default. An actor of another system, with
// protoactor remote as it is shipped, may ask as well: it sends a *raftpb.ClientRequest to
// the process "castaway-gateway" at a host's address, with Request or RequestFuture, and is
// sent a *raftpb.ClientResponse. That is one try: PROTOCOL.md says what it means.
//
// protoactor remote as shipped trusts everyone and bounds nothing. This package
// configures it (connect.go), bounds what connections cost that nobody is known on (door.go),
// lets nothing in but packets for one inbox, and clients' requests for one gateway (guard.go,
// inbox.go, gateway.go, foreign.go), and keeps credit, so that a host that is down, stopped
// or slow costs a window of memory and delays nobody else (link.go).
//
// With Config.TLS hosts and clients prove to one another who they are (tls.go,
// credentials.go), with certificates that may be replaced at any time (files.go). What was
// not let in is counted by the reason (refused.go). Two hosts agree on a version before they
// say anything (versions.go).
//
// PROTOCOL.md says what crosses the wire. codec.go, entries.go and clients.go write and
// read it; raftpb has the generated messages. hosts.go finds the members for a client, and
// conn.go is its connection to one of them; what is asked again, and when, is in actors.
//
// What must never live here: the rules of Raft, retries, sessions, disks.
package remote
