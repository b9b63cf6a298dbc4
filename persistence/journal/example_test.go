package journal_test

import (
	"fmt"
	"log"
	"os"

	"github.com/castaway-go/castaway/persistence/journal"
)

// Records are durable when Append returns. Opened again, the journal replays them.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	replay := func(_ journal.Position, record []byte) error {
		fmt.Printf("replayed %q\n", record)
		return nil
	}
	j, err := journal.Open(dir, journal.Options{Create: true, SegmentBytes: 1 << 20}, replay)
	if err != nil {
		log.Fatal(err)
	}
	var b journal.Batch
	for _, record := range []string{"one", "two"} {
		b.Add(func(buf []byte) []byte { return append(buf, record...) })
	}
	positions, err := j.Append(&b) // one write, one sync
	if err != nil {
		log.Fatal(err)
	}
	records, err := j.Read(positions[1:])
	fmt.Printf("read %q %v\n", records, err)
	if err := j.Close(); err != nil {
		log.Fatal(err)
	}

	j, err = journal.Open(dir, journal.Options{SegmentBytes: 1 << 20}, replay)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(j.Close())
	// Output:
	// read ["two"] <nil>
	// replayed "one"
	// replayed "two"
	// <nil>
}
