package main

// globMatch reports whether s matches a pattern of Redis: * any run, ? any byte,
// [abc] [^abc] [a-z] a set, \ takes the next byte as it is.
//
// When something does not fit, only the last star needs to be tried again, one
// byte further: what an earlier star took, the last one could take as well. So
// no pattern costs more than len(pattern) × len(s) steps.
func globMatch(pattern, s []byte) bool {
	p, i := 0, 0
	star, from := -1, 0 // the pattern after the last star, and where its run ends
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, from = p, i
			continue
		}
		if p < len(pattern) {
			if next, ok := globByte(pattern, p, s[i]); ok {
				p = next
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globByte matches one byte against the element of the pattern at p, which is
// no star, and returns where the next element begins.
func globByte(pattern []byte, p int, c byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globSet(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// globSet matches one byte against the set whose inside begins at p. A set that
// is not closed ends with the pattern.
func globSet(pattern []byte, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	found := false
	for p < len(pattern) && pattern[p] != ']' {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			found = found || pattern[p] == c
		case p+2 < len(pattern) && pattern[p+1] == '-':
			low, high := min(pattern[p], pattern[p+2]), max(pattern[p], pattern[p+2])
			found = found || low <= c && c <= high
			p += 2
		default:
			found = found || pattern[p] == c
		}
		p++
	}
	return min(p+1, len(pattern)), found != not
}
