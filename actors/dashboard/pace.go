package dashboard

import (
	"math"
	"time"
)

// memory is over how long rates are averaged.
const memory = 3 * time.Second

// pace is how fast a number grows.
type pace struct {
	at    time.Time
	value float64
	rate  float64 // a second
	known bool    // the rate is
	used  bool    // since the last sweep
}

// move tells the number as it is now. What shrinks begins anew.
func (p *pace) move(now time.Time, value float64) {
	p.used = true
	passed := now.Sub(p.at).Seconds()
	switch {
	case p.at.IsZero() || value < p.value:
		*p = pace{at: now, value: value, used: true}
		return
	case passed <= 0:
		return
	}
	rate := (value - p.value) / passed
	if p.known {
		weight := 1 - math.Exp(-passed/memory.Seconds())
		rate = p.rate + weight*(rate-p.rate)
	}
	p.at, p.value, p.rate, p.known = now, value, rate, true
}

// left returns in how many seconds so much more will have come, at a rate that something
// else takes away from; nil if it is not known, or never.
func left(rest, rate float64) *float64 {
	if seconds := rest / rate; rate > 0 && rest >= 0 && seconds < 1e6 {
		return &seconds
	}
	return nil
}

// paces are those of many numbers, by name.
type paces map[string]*pace

func (all paces) move(name string, now time.Time, value float64) *pace {
	p := all[name]
	if p == nil {
		p = &pace{}
		all[name] = p
	}
	p.move(now, value)
	return p
}

// sweep forgets those that were not moved since the last sweep.
func (all paces) sweep() {
	for name, p := range all {
		if !p.used {
			delete(all, name)
		}
		p.used = false
	}
}

// perSecond returns the rate, or nil.
func (p *pace) perSecond() *float64 {
	if !p.known {
		return nil
	}
	rate := p.rate
	return &rate
}
