package remote

// Refused counts what came from outside and was not let in.
type Refused struct {
	// Handshakes are connections whose TLS failed: without a certificate, or with one that
	// is of another CA, has expired, or is not for any of TLS.Names.
	Handshakes uint64
	// Identities are packets in the name of a host from who has not its certificate: see
	// TLS.HostName.
	Identities uint64
	// Versions are streams, and packets, of a version that is not spoken here.
	Versions uint64
	// Messages are all others: forged, malformed, or not for this host.
	Messages uint64
	// Connections were closed: there were too many that nobody is known on, or one host had
	// too many, or too much came on one that nobody was known on yet.
	Connections uint64
	// Certificates are connections, of either direction, that were up and have been ended:
	// a certificate has expired, or is not accepted any more.
	Certificates uint64
}

// reason is why something was refused.
type reason int

const (
	badHandshake reason = iota
	badIdentity
	badVersion
	badMessage
	badConnection
	badCertificate
	reasons
)

// Refused returns what was refused so far.
func (t *Transport) Refused() Refused {
	return Refused{
		Handshakes: t.refused[badHandshake].Load(), Identities: t.refused[badIdentity].Load(),
		Versions: t.refused[badVersion].Load(), Messages: t.refused[badMessage].Load(), Connections: t.refused[badConnection].Load(),
		Certificates: t.refused[badCertificate].Load(),
	}
}

// refuse counts something that was not let in.
func (t *Transport) refuse(r reason, why string, args ...any) {
	n := t.refused[r].Add(1)
	switch logger := t.cfg.Logger.With("why", why, "refused", n); {
	case !tellsNow(n):
	case r == badCertificate:
		logger.Warn("a connection that was up has been ended", args...)
	default:
		logger.Warn("refused what came from outside", args...)
	}
}

// rejected notes that the other side of a link does not want to speak to this one, or this
// one not to it. It goes on trying, but not in haste.
func (t *Transport) rejected(address string, err error) {
	w := t.lane(address)
	if w == nil {
		return // it has been closed
	}
	w.l.mu.Lock()
	w.l.rejections++
	n := w.l.rejections
	w.unwanted = true
	w.l.mu.Unlock()
	if tellsNow(n) {
		t.cfg.Logger.Warn("cannot speak to another host", "address", address, "err", err, "refused", n)
	}
}

// tellsNow reports whether the nth of its kind is logged: the 1st, 2nd, 4th, 8th and so on. A
// flood does not flood the log.
func tellsNow(n uint64) bool { return n&(n-1) == 0 }
