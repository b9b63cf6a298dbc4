// Package flight is a flight recorder for nodes of raftcore: what a node was told of
// late, and its state before that. A node is a pure value, so that can be played back:
// a new node is given the state, is told the same, and does the same.
//
// A Recorder keeps two parts, each a state and the inputs that came after it. When the
// newer one is full, the older one makes room for the next. Both are bytes, few and
// bounded (Bounds), and nothing is kept of commands but their sizes: a story is safe
// to show.
//
//	part 1                      part 2
//	state │ inputs, drains …    state │ inputs, drains … ✗ the fault
//	└─ played back from here                             └─ up to here
//
// A Story is what a Recorder has kept when a node failed, as a file: text to be read
// (who, which fault, what it was told last and what it did), and the recording, to be
// played back by the same version of this module: castaway-disk replay.
package flight
