// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

func TestOutcomeReadsAsInTheArticle(t *testing.T) {
	for _, c := range []struct {
		outcome v1alpha1.GrantOutcome
		pods    int32
		want    string
	}{
		{"", 0, ""},
		{"", 1, ""},
		{v1alpha1.OutcomeCompleted, 1, "completed_without_reuse"},
		{v1alpha1.OutcomeCompleted, 2, "completed_reused"},
		{v1alpha1.OutcomeFailed, 1, "failed_without_reuse"},
		{v1alpha1.OutcomeFailed, 2, "failed_reused"},
		{v1alpha1.OutcomeExpired, 0, "expired_without_reuse"},
		{v1alpha1.OutcomeExpired, 1, "expired_without_reuse"},
		{v1alpha1.OutcomeExpired, 2, "expired_reused"},
		{v1alpha1.OutcomeRevoked, 1, "revoked"},
		{v1alpha1.OutcomeRevoked, 2, "revoked_reused"},
		{v1alpha1.OutcomeIssueFailed, 0, "issue_failed"},
		{v1alpha1.OutcomeUnknown, 1, "unknown"},
		{v1alpha1.OutcomeUnknown, 3, "unknown_reused"},
		{"SomethingNew", 1, "unknown"},
	} {
		if got := Outcome(c.outcome, c.pods); got != c.want {
			t.Errorf("Outcome(%q, %d) = %q, want %q", c.outcome, c.pods, got, c.want)
		}
	}
}

func TestARecordsMembersComeInTheDocumentedOrder(t *testing.T) {
	line, _, err := seal(full(), begin("w"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`[{,]"([a-z_]+)":`).FindAllStringSubmatch(string(line), -1) {
		names = append(names, m[1])
	}
	want := strings.Fields(`timestamp task_id actor repo environment capability lease_id provider scope ttl_seconds approval outcome
		event requester namespace request grant job policy approved_by digest credential_id session attempt revocation exposed_until reason
		writer seq prev hash`)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestTheArticlesMembersAreThereEvenWhenEmpty(t *testing.T) {
	line, _, err := seal(Record{}, begin("w"))
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(line, &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("timestamp task_id actor repo environment capability lease_id provider scope ttl_seconds approval outcome") {
		if value, ok := members[name]; !ok || value == nil {
			t.Errorf("%s is missing or null", name)
		}
	}
}

func TestWhateverAFieldHoldsARecordIsOneLineAndReadsBack(t *testing.T) {
	for name, text := range map[string]string{
		"line breaks and control characters": "a\nb\r\n\x00\x1b[31m\x7f\t",
		"quotes and backslashes":             `","hash":"` + origin + `"}` + `\`,
		"separators of lines in Unicode":     "\u2028\u2029\u0085",
		"angle brackets and ampersands":      "<script>&",
		"something that is not UTF-8":        "\xff\xfe",
		"characters that cannot be seen":     "\u202e\u2800\u3164\ufe0f\U000e0100\u034f",
		"marks that are painted on others":   "\u0338e\u0301\u0301",
		"a long text":                        strings.Repeat("ü", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			r := full()
			r.Reason, r.Requester, r.Scope = text, text, []string{text}
			line, anchor, err := seal(r, begin("w"))
			if err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(string(line), "\n\r\x00\x1b") {
				t.Errorf("a control character is in the line: %q", line)
			}
			if shown := visible.Text(line); !bytes.Equal(shown, line) {
				t.Errorf("the line has characters that cannot be seen: %s", shown)
			}
			if got, err := unseal(line); err != nil || got.anchor() != anchor {
				t.Errorf("unseal = %v, %v; want %v", got, err, anchor)
			}
			var back Record
			if err := json.Unmarshal(line, &back); err != nil || back.Reason != strings.ToValidUTF8(text, "\ufffd\ufffd") && back.Reason != text {
				t.Errorf("reason reads back as %q, %v; want %q", back.Reason, err, text)
			}
		})
	}
}

func TestTheDocumentedRecipeComputesTheHash(t *testing.T) {
	for _, tool := range []string{"sh", "sed", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this machine has no %s", tool)
		}
	}
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	tricky := full()
	tricky.Reason = `,"hash":"` + origin + `"}`
	l.append(full(), tricky)
	for n, want := range l.anchors {
		script := `line=$(sed -n "$2"p "$1"); printf '%s}' "${line%,\"hash\":*}" | sha256sum`
		out, err := exec.Command("sh", "-c", script, "sh", l.path, string(rune('1'+n))).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(string(out))[0]; got != want.Hash {
			t.Errorf("line %d: the recipe gives %s, the log says %s", n+1, got, want.Hash)
		}
	}
}

func TestALogOfALaterVersionVerifies(t *testing.T) {
	body := `{"timestamp":"2031-01-01T00:00:00.000000Z","something_new":{"a":1},"writer":"w","seq":1,"prev":"` + origin + `"`
	line := body + hashBefore + hashOf([]byte(body)) + hashAfter
	if _, err := unseal([]byte(line)); err != nil {
		t.Errorf("a record with a member that is not known: %v", err)
	}
}
