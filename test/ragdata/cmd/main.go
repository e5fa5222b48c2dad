// Command cmd makes and changes a folder of RAG-like data: go run ./test/ragdata/cmd -dir=DIR -size=4GiB [-change=random|place].
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/holdfast-io/holdfast/test/ragdata"
)

func main() {
	dir := flag.String("dir", "", "folder to write or to change")
	size := flag.String("size", "1GiB", "how much data")
	seed := flag.Uint64("seed", 1, "another seed gives other data")
	change := flag.String("change", "", "change what is there: random or place")
	round := flag.Int64("round", 1, "each round changes other rows")
	flag.Parse()
	if err := run(*dir, *size, *seed, *change, *round); err != nil {
		fmt.Fprintln(os.Stderr, "ragdata:", err)
		os.Exit(1)
	}
}

func run(dir, size string, seed uint64, change string, round int64) error {
	bytes, err := ragdata.ParseSize(size)
	if err != nil {
		return err
	}
	if dir == "" {
		return fmt.Errorf("-dir is missing")
	}
	tree := ragdata.Tree{Seed: seed, Size: bytes}
	changed := int64(0)
	switch change {
	case "":
		return tree.Write(dir)
	case "random":
		changed, err = tree.ChangeRandom(dir, round)
	case "place":
		changed, err = tree.ChangeOnePlace(dir, round)
	default:
		return fmt.Errorf("-change=%s: random or place", change)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%d pages and files changed\n", changed)
	return nil
}
