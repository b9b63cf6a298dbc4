package rafttest

// Shrink makes a plan that fails simpler, as long as it still fails: fewer faults,
// fewer nodes, fewer requests, less time. What remains is what it takes.
func Shrink(p Plan, fails func(Plan) bool) Plan {
	for again := true; again; {
		again = false
		for _, simplify := range simplifications {
			q := p
			if simplify(&q); q != p && fails(q) {
				p, again = q, true
			}
		}
	}
	return p
}

var simplifications = []func(*Plan){
	func(p *Plan) { p.Change = 0 },
	func(p *Plan) { p.Dies = false },
	func(p *Plan) { p.Witnesses = 0 },
	func(p *Plan) { p.Transfer = 0 },
	func(p *Plan) { p.Snapshots = 0 },
	func(p *Plan) { p.Wipe = 0 },
	func(p *Plan) { p.Damage = 0 },
	func(p *Plan) { p.Rot = 0 },
	func(p *Plan) { p.Together = 0 },
	func(p *Plan) { p.Reckless = false },
	func(p *Plan) { p.Crash = 0 },
	func(p *Plan) { p.Partition = 0 },
	func(p *Plan) { p.Loss = 0 },
	func(p *Plan) { p.Duplicate = 0 },
	func(p *Plan) { p.Straggler = 0 },
	func(p *Plan) { p.SlowDisk = 0 },
	func(p *Plan) { p.Disk = 0 },
	func(p *Plan) { p.Leases = false },
	func(p *Plan) { p.Quiesce = false },
	func(p *Plan) { p.Prefer = false },
	func(p *Plan) { p.OnDemand = false },
	func(p *Plan) { p.Forgetful = false },
	func(p *Plan) { p.TinyLimit = false },
	func(p *Plan) { p.Spares /= 2 },
	func(p *Plan) { p.Voters = min(p.Voters, 3) },
	func(p *Plan) { p.Burst = min(p.Burst, 1) },
	func(p *Plan) { p.Reads /= 2 },
	func(p *Plan) { p.Proposals /= 2 },
	func(p *Plan) { p.Faults -= p.Faults / 4 },
}
