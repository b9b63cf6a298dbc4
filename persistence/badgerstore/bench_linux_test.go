package badgerstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache has the page cache forget what is durable of a file.
func dropCache(f *os.File) error {
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
