package main

// Defects of clients in other processes, and of what serves them.

// Of who waits for a learner.
var learnerMutants = []mutant{
	{"M11", "who waits for a learner undoes what others change meanwhile", []edit{
		{"members.go", "\t\terr := c.do(ctx, check).err\n", "\t\terr := c.lead(ctx, r)\n\t\tif err == nil {\n\t\t\terr = c.do(ctx, check).err\n\t\t}\n"},
	}},
	{"M11", "a learner that is down is not waited for", []edit{
		{"members.go", "p.ID == id && !p.CaughtUp", "p.ID == id && !p.CaughtUp && false"},
	}},
	{"C4", "the end of waiting for a learner is called rejected", []edit{
		{"members.go", "return &unawaited{perhaps{err}}", "return err"},
	}},
}

// Of the ends of sessions, and who is told.
var sessionMutants = []mutant{
	{"C3", "the ends of sessions are told in any order", []edit{
		{"sessions.go", "\tslices.Sort(ended)\n", ""},
	}},
	{"C2", "that a session was closed is not told", []edit{
		{"sessions.go", "\t\tended(o.session)\n", ""},
	}},
	{"A1", "the end of a session is told again of what the disk has", []edit{
		{"machine.go", "if m.told = true; m.behind(e.Index) {", "if m.told = true; false {"},
	}},
	{"A1", "what was done at the end of a session is lost unless a command comes then", []edit{
		{"machine.go", "if m.told { // and", "if m.told && false { // and"},
	}},
	{"A2", "the end of a session is told at an entry that is skipped", []edit{
		{"machine.go", "if m.ends == nil || m.group.skips.has(e.Index) {", "if m.ends == nil {"},
	}},
	{"C7", "nobody sees to it that a silent session ends", []edit{
		{"effector.go", "case now.UnixMilli() > last:", "case now.UnixMilli() > last && false:"},
	}},
	{"C7", "a new leader does not see to it that a silent session ends", []edit{
		{"machine.go", "\t\tm.acting = true\n\t\tm.watchSessions()\n", "\t\tm.acting = true\n"},
	}},
}

var clientMutants = []mutant{
	{"C4", "a client takes what it does not understand for a rejection", []edit{
		{"gateway.go", "if family = ErrRejected; o.acts() {", "if family = ErrRejected; false {"},
	}},
	{"C4", "what may have happened is called rejected in another process", []edit{
		{"gateway.go", "r.Outcome = responseUnknown", "r.Outcome = responseRejected"},
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
		{"gateway.go", "c.count(-requests, -a.bytes)", "c.count(0*requests, -a.bytes)"},
	}},
	{"P5", "a client that has gone keeps its place", []edit{
		{"gateway.go", "defer g.clients.Add(-1)\n", ""},
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
		{"expiry.go", "next = min(next, max(left, 0)+time.Millisecond)", "_ = left"},
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
		{"expiry.go", "hooked := config.VerifyConnection != nil || config.VerifyPeerCertificate != nil", "hooked := false"},
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

var doorMutants = []mutant{
	{"P5", "a host that is known is told that it is not", []edit{
		{"inbox.go", "t.link(said[0]) == nil && !t.cfg", "!t.cfg"},
	}},
	{"P5", "a host that is known by its certificate is told that it is not", []edit{
		{"inbox.go", "t.link(said[0]) == nil && !t.cfg.TLS.binds()", "t.link(said[0]) == nil"},
	}},
	{"P5", "a host that is not known is not told", []edit{
		{"inbox.go", "md.Set(unknownKey, said[0])", "_ = said"},
	}},
	{"P5", "any number of strangers is let in", []edit{
		{"door.go", "if d.count++; d.count <= maxStrangers {", "if d.count++; d.count > 0 {"},
	}},
	{"P5", "there is room for a stranger less", []edit{
		{"door.go", "d.count <= maxStrangers {", "d.count < maxStrangers {"},
	}},
	{"P5", "there is room for a stranger more", []edit{
		{"door.go", "d.count <= maxStrangers {", "d.count <= maxStrangers+1 {"},
	}},
	{"P5", "the newest stranger has to go", []edit{
		{"door.go", "oldest = d.strangers[most][0]", "oldest = d.strangers[most][len(d.strangers[most])-1]"},
	}},
	{"P5", "a stranger from the address that has fewest has to go", []edit{
		{"door.go", "len(list) > len(d.strangers[most])", "len(list) < len(d.strangers[most])"},
	}},
	{"P5", "one address is as good as another, whatever has come from it", []edit{
		{"door.go", "v.ip, _, _ = net.SplitHostPort(v.socket)", "v.ip = v.socket"},
	}},
	{"P5", "who has to go is not closed", []edit{
		{"door.go", "\td.t.refuse(badConnection, why, \"address\", v.socket)\n\tv.Close()", "\td.t.refuse(badConnection, why, \"address\", v.socket)"},
	}},
	{"P5", "who has to go is not counted", []edit{
		{"door.go", "\td.t.refuse(badConnection, why, \"address\", v.socket)\n", ""},
	}},
	{"P5", "who is known is a stranger yet", []edit{
		{"door.go", "\t\td.forget(v)\n\t\tv.known.Store(true)", "\t\tv.known.Store(true)"},
	}},
	{"P5", "of who is known as little is read as of a stranger", []edit{
		{"door.go", "err == nil && !v.known.Load()", "err == nil"},
	}},
	{"P5", "a lane has any number of connections", []edit{
		{"door.go", "len(d.lanes[lane]) > maxOfLane", "len(d.lanes[lane]) > 1<<30"},
	}},
	{"P5", "a lane has a connection less", []edit{
		{"door.go", "len(d.lanes[lane]) > maxOfLane", "len(d.lanes[lane]) >= maxOfLane"},
	}},
	{"P5", "the newest connection of a lane has to go", []edit{
		{"door.go", "oldest = d.lanes[lane][0]", "oldest = d.lanes[lane][len(d.lanes[lane])-1]"},
	}},
	{"P5", "clients push out one another", []edit{
		{"door.go", "if v.lane = lane; lane != \"\" {", "if v.lane = lane; true {"},
	}},
	{"P5", "a connection that is closed keeps its place", []edit{
		{"door.go", "\td.forget(v)\n\tv.gone = true", "\tv.gone = true"},
	}},
	{"P5", "a connection that is closed is found by its socket", []edit{
		{"door.go", "\t\tdelete(d.visitors, v.socket)\n", "\t\t_ = v\n"},
	}},
	{"P5", "a stranger who has gone is counted", []edit{
		{"door.go", "\t\td.count--\n", ""},
	}},
	{"P5", "who has gone is a stranger when the stream ends", []edit{
		{"door.go", "v.streams--; v.streams == 0 && !v.gone", "v.streams--; v.streams == 0"},
	}},
	{"P5", "who comes too late is known", []edit{
		{"door.go", "if v == nil || v.gone {", "if v == nil {"},
		{"door.go", "\t\tdelete(d.visitors, v.socket)\n", "\t\t_ = v\n"},
	}},
	{"P5", "one of two streams that ends makes a stranger", []edit{
		{"door.go", "v.streams--; v.streams == 0 && !v.gone", "v.streams--; !v.gone"},
	}},
	{"P5", "who is known is so for ever", []edit{
		{"door.go", "v.streams--; v.streams == 0 && !v.gone", "v.streams--; false"},
	}},
	{"P5", "who says twice that a stream has ended ends another", []edit{
		{"door.go", "return sync.OnceFunc(func() {", "return (func() {"},
	}},
	{"P5", "who was known is read on without a bound", []edit{
		{"door.go", "\tv.known.Store(false)\n", ""},
	}},
	{"P5", "a stranger anew has said too much already", []edit{
		{"door.go", "\tv.said.Store(0)\n", ""},
	}},
	{"P5", "a stranger may say any amount", []edit{
		{"door.go", "v.said.Add(int64(n)) > maxUnknown", "v.said.Add(int64(n)) > 1<<40"},
	}},
	{"P5", "a stranger may say a byte less", []edit{
		{"door.go", "v.said.Add(int64(n)) > maxUnknown", "v.said.Add(int64(n)) >= maxUnknown"},
	}},
	{"P5", "who fails at the handshake keeps his place", []edit{
		{"door.go", "\tif err != nil {\n\t\tv.Close()\n\t}\n", ""},
	}},
	{"P5", "a connection has any number of streams", []edit{
		{"connect.go", "\t\t\tgrpc.MaxConcurrentStreams(maxStreams),\n", ""},
	}},
	{"P5", "a stream that comes in has any amount of metadata", []edit{
		{"connect.go", "\t\t\tgrpc.MaxHeaderListSize(maxMetadata),\n", ""},
	}},
	{"P5", "who says where it is reached is a stranger nevertheless", []edit{
		{"inbox.go", "len(said) > 0 && t.link(said[0]) != nil", "false"},
	}},
	{"P5", "who says where another host is reached takes its place", []edit{
		{"inbox.go", "strings.Join(append(in.names[:len(in.names):len(in.names)], said[0]+laneSuffixes[in.lane]), \" \")", "strings.Join([]string{said[0] + laneSuffixes[in.lane]}, \"\")"},
	}},
	{"P5", "all hosts with certificates have the places of one", []edit{
		{"inbox.go", "fmt.Sprint(\"host \", from, laneSuffixes[in.lane])", "fmt.Sprint(\"host \", laneSuffixes[in.lane])"},
	}},
	{"P5", "a host's lanes push out one another", []edit{
		{"inbox.go", "said[0]+laneSuffixes[in.lane]), \" \")", "said[0]), \" \")"},
	}},
	{"P5", "the lanes of a host that is known by its packet push out one another", []edit{
		{"inbox.go", "fmt.Sprint(\"host \", from, laneSuffixes[in.lane])", "fmt.Sprint(\"host \", from)"},
	}},
	{"P5", "who is known by his packet alone is a stranger", []edit{
		{"inbox.go", "case l != nil:\n\t\t\tin.leave = in.door.know", "case false:\n\t\t\tin.leave = in.door.know"},
	}},
	{"P5", "a stream that ends leaves a host behind", []edit{
		{"guard.go", "if in.leave != nil {", "if false {"},
	}},
}
