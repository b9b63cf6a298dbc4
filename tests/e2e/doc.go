// Package e2e tests the whole of Castaway from outside: the program of
// examples/kv, in processes of its own, with a Redis client that others wrote,
// and with kill -9.
//
//	cd tests/e2e
//	go test -v ./...                             about two minutes
//	go test -v -run Survive -duration 10m        longer
//	go test -v -run Failover -failovers 100
//	go test -v -run FaultsOfTheNetwork -faults 180    ten minutes, as root
//
// It is a module of its own, so that the clients and the checker which it needs
// are no business of those who use the library.
//
//	members_test.go    the processes: start, kill, stop, continue, ask
//	clients_test.go    the load, and the history of what was asked and answered
//	checks_test.go     what must be true of a history
//	survive_test.go    kills and pauses under load; nothing is lost
//	failover_test.go   how long nobody is served when the leader dies
//	down_test.go       a member is away under load; the others do not swell
//	network_linux_test.go   three machines (network namespaces), and the wire between them
//	storm_linux_test.go     faults of that wire, and of the machines, under load
//
// When a test fails, it leaves a directory behind and says what is in it.
package e2e
