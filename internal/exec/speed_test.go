// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScrubber_TakesTimeInProportion writes what is costly, once and eight times as much of it: the time for each byte
// may not grow with the length, as it would where a part is looked at again and again. It is the time that this thread
// computes, whatever else the machine does.
func TestScrubber_TakesTimeInProportion(t *testing.T) {
	secret := secretsLikeReal()[0]
	p := newPatterns([]string{secret})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	computed := func() time.Duration {
		var used unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Nano())
	}
	took := func(text string) time.Duration {
		best := time.Hour
		for range 3 {
			s, start := newScrubber(io.Discard, p), computed()
			if _, err := io.WriteString(struct{ io.Writer }{s}, text); err != nil {
				t.Fatal(err)
			}
			best = min(best, computed()-start)
		}
		return best
	}
	for _, unit := range []string{`\`, `"`, `''`, "&", "&amp;", "%25", "%", "=3D", "=", "\n", " ", `\` + strings.Repeat(" ", 99),
		`\"`, `\%41&amp;=41""''`, `\u00`, "\x1b[", "77 ", "0x", "0x77,", "00000000: 77  w\n", "12:", "w", "wJal", secret,
		secret + "\n", each("%02x ")(secret), each("%d,")(secret), each(`\x%02x`)(secret), "'w' ", "119 'w' ", "│", "> ", "-"} {
		const size = 1 << 15
		few, many := took(strings.Repeat(unit, size/len(unit))), took(strings.Repeat(unit, 8*size/len(unit)))
		if many > 30*few+20*time.Millisecond {
			t.Errorf("%.20q…: %v for %d bytes, %v for eight times as many", unit, few, size, many)
		}
		if testing.Verbose() {
			t.Logf("%.20q…: %.1f MB/s", unit, 8*size/many.Seconds()/1e6)
		}
	}
}
