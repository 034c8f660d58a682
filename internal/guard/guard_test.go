// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/config"
)

const rule = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: NAME}\nspec: {failurePolicy: Fail}\n"

func named(name string) string { return strings.Replace(rule, "NAME", name, 1) }

func TestDecode(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
		err  string
	}{
		"two documents":             {named("a") + "---\n" + named("b"), []string{"a", "b"}, ""},
		"other kinds between them":  {named("a") + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n" + named("b"), []string{"a", "b"}, ""},
		"YAML that does not parse":  {named("a") + "---\nkind: [\n", nil, "f.yaml"},
		"a rule that does not":      {named("a") + "---\n" + strings.Replace(named("b"), "Fail", "[]", 1), nil, "failurePolicy"},
		"a document without a kind": {named("a") + "---\nmetadata: {name: b}\n", nil, "Kind"},
		"a huge document":           {named("a") + "# " + strings.Repeat("x", 2<<20), nil, "short buffer"},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := Decode(fstest.MapFS{"admission/f.yaml": {Data: []byte(c.text)}})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v; want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range objects {
				got = append(got, o.GetName())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNewRefusesToGuardNothing(t *testing.T) {
	if _, err := New(fstest.MapFS{}, nil, nil, ""); err == nil {
		t.Error("a guard of no rules is always whole")
	}
}

// TestEveryRuleIsBound sees that no shipped rule lies idle.
func TestEveryRuleIsBound(t *testing.T) {
	objects, err := Decode(config.Admission)
	if err != nil {
		t.Fatal(err)
	}
	policies, bindings := map[string]bool{}, map[string]bool{}
	for _, o := range objects {
		if strings.HasSuffix(kindOf(o).Kind, "Binding") {
			bindings[o.GetName()] = true
		} else {
			policies[o.GetName()] = true
		}
	}
	if diff := cmp.Diff(policies, bindings); diff != "" || len(policies) == 0 {
		t.Errorf("policies and bindings differ: %s", diff)
	}
}

func TestMessageNamesAFewAndCountsTheRest(t *testing.T) {
	got := Status{Problems: []string{"a is missing", "b is missing", "c is missing", "d is missing", "e is missing"}}.Message()
	want := "the admission rules are not whole: a is missing; b is missing; c is missing and 2 more; apply config/admission again, and use kubectl replace for a rule that still differs"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
