// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"regexp"
	"testing"
)

// TestRun_AsksForExactlyWhatWasTyped: a time is never cut, and a capability whose name has a dot gets requests whose
// names have none.
func TestRun_AsksForExactlyWhatWasTyped(t *testing.T) {
	for text, want := range map[string]int32{"15m": 900, "900s": 900, "1m30s": 90, "1m30.9s": 0, "500ms": 0, "0s": 0, "-1m": 0, "900": 0, "": 0, "9999999h": 0} {
		o := &runOptions{}
		if err := o.ttl.Set(text); (err != nil) != (want == 0) {
			t.Errorf("--ttl %s: %v", text, err)
		}
		switch asked := o.request("agents", "publish.preview").Spec.TTLSeconds; {
		case want == 0 && asked != nil:
			t.Errorf("--ttl %s was refused, and asks for %d s", text, *asked)
		case want > 0 && (asked == nil || *asked != want):
			t.Errorf("--ttl %s asks for %v; want %d", text, asked, want)
		}
	}
	// What the CRD allows of a name, and the API server adds five characters.
	name := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?-$`)
	for _, capability := range []string{"publish", "publish.preview", "a.very.long.name.of.a.capability.with.many.parts.in.it", "x"} {
		if got := (&runOptions{}).request("agents", capability).GenerateName; !name.MatchString(got) || len(got) > 49 {
			t.Errorf("capability %s: generateName %q", capability, got)
		}
	}
}
