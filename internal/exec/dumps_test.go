// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dumped writes words of a size, in a base and an order, so many in a line, behind an offset.
type dumped struct {
	format  string
	size    int
	big     bool
	perLine int
	offset  string
	column  string
	// more is how many bytes more each line has: a word that is not full.
	more int
}

func (d dumped) write(text string) string {
	var b strings.Builder
	width := d.size*d.perLine + d.more
	for at := 0; at < len(text); at += width {
		line := []byte(text[at:min(len(text), at+width)])
		if d.offset != "" {
			fmt.Fprintf(&b, d.offset, at)
		}
		for word := range slices.Chunk(line, d.size) {
			size := d.size
			if d.more > 0 {
				size = len(word)
			}
			var number uint64
			for i := range size {
				k := i
				if !d.big {
					k = size - 1 - i
				}
				number <<= 8
				if k < len(word) {
					number |= uint64(word[k])
				}
			}
			switch {
			case d.more > 0 && strings.HasSuffix(d.format, "x"):
				fmt.Fprintf(&b, " %0*x", 2*size, number)
			case d.more > 0 && strings.HasSuffix(d.format, "b"):
				fmt.Fprintf(&b, " %0*b", 8*size, number)
			default:
				fmt.Fprintf(&b, " "+d.format, number)
			}
		}
		if d.column != "" {
			fmt.Fprintf(&b, d.column, line)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// everyDump are words of each size, in each base and order, in lines of one word up to sixteen bytes.
func everyDump() map[string]dumped {
	all := map[string]dumped{}
	digits := map[string][4]int{"x": {2, 4, 8, 16}, "o": {3, 6, 11, 22}, "d": {3, 5, 10, 20}, "b": {8, 16, 32, 64}}
	for base, widths := range digits {
		for k, width := range widths {
			size := 1 << k
			for _, perLine := range slices.Compact([]int{1, min(3, 16/size), 16 / size}) {
				for _, big := range []bool{false, true} {
					for _, offset := range []string{"", "%07o ", "%08x: ", "0x%016x:\t", "%04x - ", "INFO %04x: "} {
						if strings.HasPrefix(offset, "INFO") && perLine*size < 4 {
							continue // one byte in a line of a log
						}
						for _, column := range []string{"", "  %s", "  >%s<"} {
							if column == "  %s" && (base == "o" || base == "d") {
								continue // nobody writes so
							}
							if column != "" && offset == "" && perLine*size < 4 {
								continue // as the page says
							}
							d := dumped{format: fmt.Sprintf("%%0%d%s", width, base), size: size, big: big, perLine: perLine,
								offset: offset, column: column}
							if base == "d" {
								d.format = fmt.Sprintf("%%%dd", width)
							}
							name := fmt.Sprintf("%s, %d bytes, big %v, %d a line, %q %q", base, size, big, perLine, offset, column)
							all[name] = d
							for more := 1; more < size && (offset == "" || offset == "%08x: ") && column == ""; more++ {
								d.more = more
								all[fmt.Sprintf("%s, and %d bytes", name, more)] = d
							}
						}
					}
				}
			}
		}
	}
	return all
}

// TestDumps_EveryWordOfEverySize dumps what stands in a credentials file, and looks for what could be told of it.
func TestDumps_EveryWordOfEverySize(t *testing.T) {
	const letters = "ABCDEFGHIJLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	r := rand.New(rand.NewPCG(3, 5)) //nolint:gosec // a test's own choice, the same each time
	short, long := alike(r, letters, 40), alike(r, letters, 700)
	beside := regexp.MustCompile(`(?m)(^|#)(INFO )?(0?x)?[0-9a-f]{4,}(:| -)?`)
	by := map[string]*patterns{}
	for _, secret := range slices.Concat(short[:], long[:]) {
		by[secret] = newPatterns([]string{secret})
	}
	for name, d := range everyDump() {
		for _, both := range [][2]string{short, long} {
			var left [2]string
			for i, secret := range both {
				text := d.write("[default]\naws_secret_access_key = " + secret + "\nregion = eu-central-1\n")
				left[i] = toldOf(scrubbedBy(t, by[secret], text, func() int { return 1 << 20 }), beside)
			}
			if left[0] != left[1] {
				t.Errorf("%s, %d: what is left tells which secret it was\n%q\n%q", name, len(both[0]), left[0], left[1])
			}
		}
	}
}
