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
// protoactor remote as shipped trusts everyone and bounds nothing. This package
// configures it (connect.go), lets nothing in but one kind of message for one
// inbox (guard.go, inbox.go), and keeps credit, so that a host that is down, stopped or
// slow costs a window of memory and delays nobody else (link.go).
//
// With Config.TLS hosts prove to one another who they are (tls.go, credentials.go), with
// certificates that may be replaced at any time (files.go). What was not let in is counted
// by the reason (refused.go). Two hosts agree on a version before they say anything
// (versions.go).
//
// PROTOCOL.md says what crosses the wire. codec.go and entries.go write and read
// it; raftpb has the generated messages.
//
// What must never live here: the rules of Raft, clients, disks.
package remote
