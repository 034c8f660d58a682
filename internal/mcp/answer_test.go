// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// hides reports whether a person, or a model, could overlook something in a text.
func hides(text string) bool {
	return string(visible.Text([]byte(text))) != text || strings.ContainsAny(text, "\n\t")
}

// TestWhatPeopleWroteCannotMoveACursor: or turn the direction of what follows, or hide it.
func TestWhatPeopleWroteCannotMoveACursor(t *testing.T) {
	const wild = "\u0338blank\u2800\u3164\ufe0f\U000e0100\u034f red\x1b[31m \u202eesrever\u2066 \u200bhidden\u2028new\nline\x7f\u0085 \\u001b \"quoted\" C:\\dir ü 🙂 <&> א     1"
	w := newWorld(t, newCapability(func(c *v1alpha1.Capability) { c.Name, c.Spec.Description = "wild", wild }), func() *v1alpha1.CapabilityPolicy {
		p := allow("wild", "preview")
		p.Spec.Capabilities = []string{"wild"}
		return p
	}(), stored("x", refuses(v1alpha1.ReasonDeniedByPerson, wild)))
	does := w.call("capabilities", arguments{"capability": "wild"}).offered.Capabilities[0].Does
	status := w.call("status", arguments{"name": "x"})
	message := status.Message
	if !strings.Contains(status.text, "<&>") {
		t.Errorf("signs are written in more characters than they have: %s", status.text)
	}
	for _, got := range []string{does, message} {
		for _, want := range []string{`\u0338blank\u2800\u3164\ufe0f\udb40\udd00\u034f red\u001b[31m`, `new\u000aline`,
			`\u001b "quoted" C:\dir ü 🙂 <&> \u05d0␣{5}1`} {
			if hides(got) || !strings.Contains(got, want) {
				t.Errorf("%q; want %q", got, want)
			}
		}
	}
	w.while("wait", arguments{"name": "x"}, func() {
		if said := <-w.progress; hides(said) {
			t.Errorf("%q", said)
		}
	})
}

func FuzzAnAnswerIsOneJSONObjectWithoutHiddenCharacters(f *testing.F) {
	f.Add("\x1b\u202e\\\"\\u0000\xff\u2028\u2800e\u0301\u0301<&>")
	f.Fuzz(func(t *testing.T, s string) {
		said, err := encoded(map[string]string{s: s})
		if err != nil || hides(said) {
			t.Fatalf("%q: %v", said, err)
		}
		var read map[string]string
		if err := json.Unmarshal([]byte(said), &read); err != nil || len(read) != 1 {
			t.Fatalf("%q: %v", said, err)
		}
		if want := visible.Line(s); utf8.ValidString(s) && read[want] != want {
			t.Errorf("%q reads back as %q; want %q", s, read, want)
		}
	})
}

// TestThereAreToolsAndNothingElse: no resource, no prompt, no log of the protocol's.
func TestThereAreToolsAndNothingElse(t *testing.T) {
	w := newWorld(t)
	if can, err := json.Marshal(w.session.InitializeResult().Capabilities); err != nil || string(can) != `{"tools":{}}` {
		t.Errorf("the server can %s (%v)", can, err)
	}
	tools, err := w.session.ListTools(w.ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	looks := map[string]bool{"capabilities": true, "ask": false, "wait": true, "status": true, "withdraw": false}
	if len(tools.Tools) != len(looks) {
		t.Errorf("there are %d tools", len(tools.Tools))
	}
	for _, tool := range tools.Tools {
		if tool.Annotations.ReadOnlyHint != looks[tool.Name] || *tool.Annotations.DestructiveHint != (tool.Name == "withdraw") {
			t.Errorf("%s says of itself %+v", tool.Name, tool.Annotations)
		}
	}
	resources, err := w.session.ListResources(w.ctx, nil)
	if err == nil && len(resources.Resources) > 0 {
		t.Errorf("there are %d resources", len(resources.Resources))
	}
	prompts, err := w.session.ListPrompts(w.ctx, nil)
	if err == nil && len(prompts.Prompts) > 0 {
		t.Errorf("there are %d prompts", len(prompts.Prompts))
	}
}
