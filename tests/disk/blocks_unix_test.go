//go:build unix

package disk

import (
	"io/fs"
	"syscall"
)

// blocks returns what a file takes: those of Badger are longer than what is in them.
func blocks(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}
