// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// show has a timeline see events of one resource, as the API server sends them, a second apart.
func show(t *testing.T, l *Timeline, resource string, begin time.Time, events ...string) {
	t.Helper()
	for i, text := range events {
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		l.see(resource, e, begin.Add(time.Duration(i)*time.Second))
	}
}

func stagesOf(l *Timeline, name string) []Stage {
	var list []Stage
	for s := range l.times[name] {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func TestTimeline_SeesTheStagesOfEachKind(t *testing.T) {
	for resource, c := range map[string]struct {
		events []string
		want   []Stage
	}{
		"capabilityrequests": {
			[]string{
				`{"type":"ADDED","object":{"metadata":{"name":"a"},"status":{}}}`,
				`{"type":"MODIFIED","object":{"metadata":{"name":"a"},"status":{"review":{"digest":"d"},"grantName":"a"}}}`,
				`{"type":"DELETED","object":{"metadata":{"name":"a"},"status":{"review":{"digest":"d"},"grantName":"a","endedAt":"2026-01-01T00:00:00Z"}}}`,
			},
			[]Stage{Closed, Gone, Named, Reviewed},
		},
		"capabilitygrants": {
			[]string{`{"type":"MODIFIED","object":{"metadata":{"name":"a"},"status":{"attempt":1,"issuedAt":"2026-01-01T00:00:00Z","expiresAt":"2026-01-01T00:15:00Z",
				"conditions":[{"type":"Delivered","status":"True"},{"type":"Running","status":"False"}]}}}`},
			[]Stage{Begun, Delivered, Expiry, Granted, Issued},
		},
		"jobs": {
			[]string{
				`{"type":"ADDED","object":{"metadata":{"name":"j","labels":{"valetkey.dev/request":"a"}},"spec":{"suspend":true},"status":{}}}`,
				`{"type":"MODIFIED","object":{"metadata":{"name":"j","labels":{"valetkey.dev/request":"a"}},"spec":{"suspend":true},"status":{"conditions":[{"type":"Suspended","status":"True"}]}}}`,
				`{"type":"MODIFIED","object":{"metadata":{"name":"j","labels":{"valetkey.dev/request":"a"}},"spec":{"suspend":false},"status":{}}}`,
			},
			[]Stage{Held, Started},
		},
		"secrets": {
			[]string{
				`{"type":"ADDED","object":{"metadata":{"name":"s","labels":{"valetkey.dev/request":"a"}}}}`,
				`{"type":"DELETED","object":{"metadata":{"name":"s","labels":{"valetkey.dev/request":"a"}}}}`,
				`{"type":"ADDED","object":{"metadata":{"name":"of-somebody-else"}}}`,
			},
			[]Stage{SecretGone, Stored},
		},
		"pods": {[]string{`{"type":"ADDED","object":{"metadata":{"name":"p","labels":{"valetkey.dev/request":"a"}}}}`}, []Stage{PodMade}},
	} {
		l := New()
		show(t, l, resource, time.Unix(0, 0), c.events...)
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, stagesOf(l, "a")); diff != "" || len(l.times) != 1 {
			t.Errorf("%s of %d requests: %s", resource, len(l.times), diff)
		}
	}
}

func TestTimeline_KeepsWhenAStageWasSeenFirst(t *testing.T) {
	l, begin := New(), time.Unix(100, 0)
	l.Mark("a", Asked, begin)
	made := `{"type":"ADDED","object":{"metadata":{"name":"a"},"status":{}}}`
	show(t, l, "capabilitygrants", begin.Add(2*time.Second), made, made, made)
	if diff := cmp.Diff([]time.Duration{2 * time.Second}, l.Between([]string{"a", "b"}, Asked, Granted)); diff != "" {
		t.Error(diff)
	}
	if last := l.Last([]string{"a", "b"}, Granted); !last.Equal(begin.Add(2 * time.Second)) {
		t.Errorf("the last was at %s", last)
	}
}

func TestTimeline_WaitCountsWhoDidNotCome(t *testing.T) {
	l := New()
	l.Mark("a", Asked, time.Unix(1, 0))
	if missing := l.Wait(t.Context(), time.Millisecond, Asked, "a", "b", "c"); missing != 2 {
		t.Errorf("%d are missing, want 2", missing)
	}
	done := make(chan int)
	go func() { done <- l.Wait(t.Context(), time.Hour, Asked, "a", "b") }()
	l.Mark("b", Asked, time.Unix(2, 0))
	if missing := <-done; missing != 0 {
		t.Errorf("%d are missing though all came", missing)
	}
}
