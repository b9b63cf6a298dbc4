package main

// Faults of the buffers that packets are in on their way.
var batchMutants = []mutant{
	{"P10", "the entries' buffers are given back before they are written", []edit{
		{"batches.go", "	size := proto.Size(p.Packet)\n", "	for _, b := range p.borrowed {\n		buffers.Put(b)\n	}\n	scribble()\n	size := proto.Size(p.Packet)\n"},
		{"batches.go", "var errWritten =", "func scribble() {\n	for i := range 8 {\n		b := buffers.Get(2048 << i)\n		clear(*b)\n		buffers.Put(b)\n	}\n}\n\nvar errWritten ="},
	}},
	{"P10", "a packet is written twice", []edit{
		{"batches.go", "	p.Packet, p.borrowed = nil, nil\n", "	p.borrowed = nil\n"},
	}},
	{"F1", "a few entries keep a large packet", []edit{
		{"batches.go", "len(data)/2+1, entriesPath", "1, entriesPath"},
	}},
	{"P10", "a field that is there twice is taken from where it is large", []edit{
		{"batches.go", "more == nil || others > 0 || has(more, path[1])", "more == nil || others > 0"},
	}},
	{"P10", "a buffer that is too small is used again", []edit{
		{"batches.go", " && cap(*b) == 1<<tier {", " {"},
		{"batches.go", "bits.Len(uint(cap(*b))) - 1; tier", "bits.Len(uint(cap(*b))); tier"},
	}},
	{"P5", "the fields of a batch are not counted", []edit{
		{"batches.go", "fields(buf.ReadOnlyData(), true) > maxFields", "false"},
	}},
	{"P5", "only the fields of a whole batch are counted", []edit{
		{"batches.go", "deep && kind ==", "false && kind =="},
	}},
	{"P5", "the fields of a packet are not counted", []edit{
		{"batches.go", "fields(data, false) > maxFields", "false"},
	}},
	{"P5", "what is compressed is read", []edit{
		{"guard.go", "if compressed(stream.Context()) {", "if false {"},
	}},
}
