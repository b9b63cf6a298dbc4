module github.com/castaway-go/castaway/tests/bench/peers

go 1.26.0

require (
	github.com/castaway-go/castaway v0.0.0
	go.etcd.io/raft/v3 v3.7.0
)

require google.golang.org/protobuf v1.36.12 // indirect

replace github.com/castaway-go/castaway => ../../..
