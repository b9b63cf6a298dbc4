package main

// Defects of clients in other processes, and of what serves them.

var clientMutants = []mutant{
	{"C4", "a client takes what it does not understand for a rejection", []edit{
		{"gateway.go", "if family = ErrRejected; o.acts() {", "if family = ErrRejected; false {"},
	}},
	{"C4", "what may have happened is called rejected in another process", []edit{
		{"gateway.go", "r.Outcome = ResponseUnknown", "r.Outcome = ResponseRejected"},
	}},
	{"C5", "a client that was closed asks on", []edit{
		{"client.go", "errors.As(err, new(*toldError)) && elsewhere(err)", "elsewhere(err)"},
	}},
	{"C1", "a client's read is asked about nobody, because whoever leads confirms it", []edit{
		{"gateway.go", "return g, h.authorize(", "if r.Operation == Read && r.Consistency == Linearizable {\n\t\treturn g, nil\n\t}\n\treturn g, h.authorize("},
	}},
	{"C1", "what changes nothing is not asked about", []edit{
		{"authorize.go", "h.cfg.Authorize == nil || a.Operation.asks()", "h.cfg.Authorize == nil || a.Operation.asks() || !a.Operation.acts()"},
	}},
	{"C1", "a host asks the leader's hook alone", []edit{
		{"gateway.go", "return g, h.authorize(", "if s, _ := g.board.latest(); s.Leader != h.cfg.ID && r.Acts() {\n\t\treturn g, nil\n\t}\n\treturn g, h.authorize("},
	}},
	{"C1", "what a host has let through the leader asks nobody about", []edit{
		{"host.go", "if err := h.authorize(Asked{Group: g.name, Operation: r.Operation, Host: p.From, Names: p.Names}, r.Data); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"C1", "a member that has been stopped ends a client's call, though others are there", []edit{
		{"client.go", "return passes(err) || errors.As", "return passes(err) || false && errors.As"},
	}},
	{"C1", "whoever leads by now is deposed by a Transfer that was carried out", []edit{
		{"client.go", "case anybody && unknown && !vacant && s.Leader != before:\n\t\t\treturn nil", "case false:\n\t\t\treturn nil"},
	}},
}

var gatewayMutants = []mutant{
	{"C4", "what was sent on a connection that broke is called unreachable", []edit{
		{"conn.go", "case a.sent && a.acts:", "case false:"},
	}},
	{"C4", "what was sent is called rejected when its context ends", []edit{
		{"conn.go", "if a.acts && a.sent {", "if false {"},
	}},
	{"P5", "a host takes any number of clients' requests", []edit{
		{"gateway.go", "{&c.g.usage.requests, requests,", "{&c.g.usage.requests, 1 << 40,"},
	}},
	{"P5", "a client may have all that there is for clients", []edit{
		{"gateway.go", "(requests + 1) / 2", "requests"},
	}},
	{"P5", "a request that has gone counts on", []edit{
		{"gateway.go", "c.count(-requests, -a.bytes)", "c.count(0, -a.bytes)"},
	}},
	{"P5", "a client that has gone keeps its place", []edit{
		{"gateway.go", "defer g.clients.Add(-1)\n", ""},
	}},
	{"P5", "who says where it is reached is a stranger nevertheless", []edit{
		{"inbox.go", "len(said) > 0 && t.link(said[0]) != nil", "false"},
	}},
	{"P5", "a host that is known is told that it is not", []edit{
		{"inbox.go", "t.link(said[0]) == nil && !t.cfg", "!t.cfg"},
	}},
	{"P5", "a host that is known by its certificate is told that it is not", []edit{
		{"inbox.go", "t.link(said[0]) == nil && !t.cfg.TLS.binds()", "t.link(said[0]) == nil"},
	}},
	{"P5", "a host that is not known is not told", []edit{
		{"inbox.go", "md.Set(unknownKey, said[0])", "_ = said"},
	}},
	{"P5", "a host that was not known blames its address for ever", []edit{
		{"link.go", "\tl.unknown = \"\" // it speaks to that address\n", ""},
	}},
	{"P5", "a stranger may say any amount", []edit{
		{"door.go", "maxUnknown   = 64 << 10", "maxUnknown   = 64 << 30"},
	}},
	{"P6", "an actor has the answer sent to a third", []edit{
		{"guard.go", "if !clients || sender.GetAddress() != s.from {", "if !clients || sender.GetAddress() != s.from && false {"},
	}},
}

var certificateMutants = []mutant{
	{"P6", "a connection lives on when a certificate has expired", []edit{
		{"expiry.go", " && !now.After(s.until) {", " {"},
	}},
	{"P6", "nobody looks before ten seconds are over", []edit{
		{"expiry.go", "next = min(next, left+time.Millisecond)", "_ = left"},
	}},
	{"P6", "a CA that has expired counts", []edit{
		{"expiry.go", "first := slices.MinFunc(way, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })", "first := way[0]"},
	}},
	{"P6", "this side's own certificate is not looked at", []edit{
		{"expiry.go", "s.leaf = c.Leaf; s.leaf == nil && len(c.Certificate) > 0", "s.leaf = nil; false"},
	}},
	{"P6", "that this side's own certificate has expired is no reason", []edit{
		{"expiry.go", "if s.own != nil && now.After(s.own.NotAfter) {", "if false {"},
	}},
	{"P6", "a connection lives on when its CA is trusted no more", []edit{
		{"expiry.go", "if config == s.config && !hooked", "if s.config != nil && !hooked"},
	}},
	{"P6", "hooks are asked once", []edit{
		{"expiry.go", "config == s.config && !hooked && ", "config == s.config && "},
	}},
	{"P6", "who has connected is not looked at again", []edit{
		{"expiry.go", "c.live[s] = true", "if s.dialled {\n\t\tc.live[s] = true\n\t}"},
	}},
	{"P6", "who was dialled is not looked at again", []edit{
		{"expiry.go", "c.live[s] = true", "if !s.dialled {\n\t\tc.live[s] = true\n\t}"},
	}},
	{"P6", "a hook that has one certificate is not asked who has connected", []edit{
		{"tls.go", "s.VerifiedChains, now.VerifyConnection(s)", "s.VerifiedChains, nil"},
	}},
	{"P6", "a connection is told to have ended, and has not", []edit{
		{"expiry.go", "\ts.raw.Close()\n", ""},
	}},
	{"P6", "connections that have been closed are kept", []edit{
		{"expiry.go", "\ts.c.forget(s)\n\treturn s.Conn.Close()", "\treturn s.Conn.Close()"},
	}},
	{"P6", "the certificate of who is asked by no name is the first", []edit{
		{"expiry.go", "if hello.SupportsCertificate(&certs[i]) == nil {", "if i == 0 {"},
	}},
}
