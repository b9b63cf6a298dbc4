//go:build !linux

package badgerstore

import (
	"errors"
	"os"
)

func dropCache(*os.File) error { return errors.New("nobody can ask this system to forget a file") }
