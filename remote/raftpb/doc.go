// Package raftpb has the protobuf messages of the wire, generated from
// castaway.proto with
//
//	go generate ./remote/raftpb
//
// Only package remote imports it; and in other processes, programs whose actors ask a
// gateway themselves.
package raftpb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.66.0 generate
