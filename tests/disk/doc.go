// Package disk does real harm below the stores: a process that has one open is
// killed, its system calls fail, its files are damaged. What was acknowledged must
// be there afterwards, byte by byte, or the damage must be named.
//
//	go test ./tests/disk                                a minute
//	go test ./tests/disk -run AfterAKill -kills 200     more of it
//	go test ./tests/disk -run Fails -faults 20
//	go test ./tests/disk -run Harmless -flips 50
//
// And long work is done on them, to see what they take of time, disk and memory. How
// fast a store is has to be read off, it is compared with a plain file in the same
// run; everything else is checked.
//
//	go test ./tests/disk -v -run SteadyCompaction -entries 10000000
//	go test ./tests/disk -v -run SteadyCompaction -entries 10000000 -every 40000
//	go test ./tests/disk -v -run SteadyCompaction -entries 10000000 -groups 1000
//	go test ./tests/disk -v -run Throughput -cliff 60s
//	go test ./tests/disk -v -run Throughput -cliff 60s -state 0
//	go test ./tests/disk -v -run Thousands -groups 5000
//
// The store is always in a process of its own. The test talks to it through pipes
// (a process is a persistence.Store), and what it must hold is kept here, by
// rafttest.StoreModel: an answer that has arrived is an acknowledgement that
// happened, whatever becomes of the process.
//
//	process_test.go    the process with the store, and how it is talked to
//	kill_test.go       kill -9, at any moment
//	strace_test.go     system calls that fail, take long, or kill
//	host_test.go       the same below examples/kv
//	flip_test.go       flipped bits and lost ends, in every kind of file
//	job_test.go        a process that does one job with a store, and what it takes
//	work_test.go       many groups that save, and take snapshots
//	steady_test.go     such work, short or long
//
// Faults in system calls need strace; without it those tests are skipped. No test
// here cuts the power: package journaltest, under persistence/journal, does that.
package disk
