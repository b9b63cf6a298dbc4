package journaltest_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
)

// The power fails in the middle of the second Append. What the first was told is durable is
// there; and a torn end is cut off, for nobody was told of it.
func Example() {
	disk := journaltest.New(1)
	options := journal.Options{Create: true, SegmentBytes: 64 << 10, FS: disk}
	j, err := journal.Open("dir", options, func(journal.Position, []byte) error { return nil })
	if err != nil {
		log.Fatal(err)
	}
	add := func(record string) error {
		var b journal.Batch
		b.Add(func(buf []byte) []byte { return append(buf, record...) })
		_, err := j.Append(&b)
		return err
	}
	fmt.Println(add("acknowledged"))
	disk.CrashAt(1)
	fmt.Println(errors.Is(add("not acknowledged"), journaltest.ErrCrashed))

	disk.Crash(true)
	var first string
	j, err = journal.Open("dir", options, func(_ journal.Position, record []byte) error {
		if first == "" {
			first = string(record)
		}
		return nil
	})
	fmt.Println(first, err)
	fmt.Println(j.Close())
	// Output:
	// <nil>
	// true
	// acknowledged <nil>
	// <nil>
}
