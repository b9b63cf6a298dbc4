// Package remote is the wire between hosts: an actors.Transport on protoactor
// remote.
//
//	host, err := actors.Start(system, actors.HostConfig{
//		Transport: remote.New(remote.Config{Listen: "10.0.0.1:7001", Insecure: true}),
//		…
//	})
//
// protoactor remote as shipped trusts everyone and bounds nothing. This package
// configures it (connect.go), lets nothing in but one kind of message for one
// inbox (guard.go), and keeps credit, so that a host that is down, stopped or
// slow costs a window of memory and delays nobody else (link.go).
//
// PROTOCOL.md says what crosses the wire. codec.go and entries.go write and read
// it; raftpb has the generated messages.
//
// What must never live here: the rules of Raft, clients, disks.
package remote
