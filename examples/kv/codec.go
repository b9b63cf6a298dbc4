package main

import (
	"encoding/binary"
	"errors"
)

// What travels between the front ends and the machines.
//
//	batch     version, command …            the data of an entry
//	command   arguments, argument …         the first argument is the name
//	argument  length, bytes
//	question  asOf, batch                   asOf in Unix milliseconds
//	answer    how many commands were carried out, their replies in RESP2
//
// Numbers are unsigned varints; in the answer, four bytes, little-endian, because
// it is known last.
//
// An answer may be for fewer commands than were asked, but at least for one.
// Whoever asked sends the rest again.

// batchVersion is the first byte of a batch. It changes with the encoding.
const batchVersion = 1

var (
	errBatchVersion = errors.New("the batch has an unknown version")
	errBatchCut     = errors.New("the batch is cut short")
)

// tick is a batch without commands: it only tells the machine the time.
var tick = []byte{batchVersion}

// commandSize returns how many bytes appendCommand adds.
func commandSize(args [][]byte) int {
	n := uvarintSize(len(args))
	for _, a := range args {
		n += uvarintSize(len(a)) + len(a)
	}
	return n
}

func uvarintSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

func appendCommand(batch []byte, args [][]byte) []byte {
	batch = binary.AppendUvarint(batch, uint64(len(args)))
	for _, a := range args {
		batch = binary.AppendUvarint(batch, uint64(len(a)))
		batch = append(batch, a...)
	}
	return batch
}

// appendBatch appends a batch of commands.
func appendBatch(b []byte, commands [][][]byte) []byte {
	b = append(b, batchVersion)
	for _, args := range commands {
		b = appendCommand(b, args)
	}
	return b
}

// batchReader reads the commands of a batch, one after the other.
type batchReader struct {
	rest []byte
	args [][]byte // of the last command; used again for the next
	err  error
}

// open begins a batch.
func (b *batchReader) open(batch []byte) {
	b.rest, b.err = nil, nil
	if len(batch) == 0 || batch[0] != batchVersion {
		b.err = errBatchVersion
		return
	}
	b.rest = batch[1:]
}

// next reads a command, which is never empty, into args. It returns false at the
// end, or at an error.
func (b *batchReader) next() bool {
	if len(b.rest) == 0 || b.err != nil {
		return false
	}
	b.args = b.args[:0]
	n := b.number()
	for range n {
		length := b.number()
		if b.err != nil {
			return false
		}
		b.args = append(b.args, b.rest[:length:length])
		b.rest = b.rest[length:]
	}
	if n == 0 {
		b.err = errBatchCut
	}
	return b.err == nil
}

// number reads a number of things of which each takes a byte at least.
func (b *batchReader) number() int {
	n, size := binary.Uvarint(b.rest)
	if size <= 0 || n > uint64(len(b.rest)-size) {
		b.err = errBatchCut
		return 0
	}
	b.rest = b.rest[size:]
	return int(n)
}

// appendQuestion appends what stands before the batch of a question.
func appendQuestion(b []byte, asOf int64) []byte { return binary.AppendUvarint(b, uint64(asOf)) }

func decodeQuestion(question []byte) (asOf int64, batch []byte, err error) {
	n, size := binary.Uvarint(question)
	if size <= 0 {
		return 0, nil, errors.New("the question is cut short")
	}
	return int64(n), question[size:], nil
}

// answerHeader is the length of what stands before the replies.
const answerHeader = 4

func finishAnswer(answer []byte, count int) {
	binary.LittleEndian.PutUint32(answer, uint32(count))
}

func decodeAnswer(answer []byte) (count int, replies []byte, ok bool) {
	if len(answer) < answerHeader {
		return 0, nil, false
	}
	return int(binary.LittleEndian.Uint32(answer)), answer[answerHeader:], true
}
