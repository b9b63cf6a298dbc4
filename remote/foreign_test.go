package remote

import (
	"testing"
)

// startPlain starts a process that has protoactor remote, and nothing of this package.
func startPlain(t testing.TB) (p *process, address string) {
	t.Helper()
	address = freeAddresses(t, 1)[0]
	p = &process{t: t, env: []string{plainEnv + "=" + address}}
	p.start()
	t.Cleanup(p.kill)
	return p, address
}

// Actors of a process that has only protoactor remote ask the gateway, as they would ask
// any actor. Their process is killed, and another at the same address asks again.
func TestActorsOfAnotherProcessAskTheGateway(t *testing.T) {
	host := &process{t: t, spec: "1," + freeAddresses(t, 1)[0]}
	host.start()
	t.Cleanup(host.kill)
	asks, _ := startPlain(t)
	expect := func(want, command string) {
		t.Helper()
		if got := asks.ask(host.address() + " " + command); got != want {
			t.Errorf("%q is answered %q, not %q", command, got, want)
		}
	}
	expect("7 1 5 []", "sum 1 5")
	expect("7 1 12 []", "sum 1 7")
	expect("7 1 12 []", "sum 2")
	expect("7 3  [73]", "other 1 1")
	expect("7 3  [68]", "sum 99")
	for range 3 {
		asks.kill()
		asks.start()
		expect("7 1 12 []", "sum 2")
	}
	if got := host.ask("refused"); got != "0" {
		t.Errorf("%s messages were refused", got)
	}
}
