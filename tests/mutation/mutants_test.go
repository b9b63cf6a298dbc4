package main

import "testing"

// Whoever changes a line that a mutant changes should learn of it at once, not
// when somebody runs them all again.
func TestTheTextsThatMutantsChangeAreThere(t *testing.T) {
	root := moduleRoot()
	for _, s := range suites() {
		if len(s.mutants) == 0 {
			t.Errorf("%s has none", s.dir)
		}
		for _, m := range s.mutants {
			if _, err := m.overlay(root, s.dir, t.TempDir()); err != nil {
				t.Errorf("%s, %s: %v", m.trap, m.name, err)
			}
		}
	}
}
