// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestWhyTellsEveryClauseOfEveryPolicy: the policy that decides comes first, then what is nearest.
func TestWhyTellsEveryClauseOfEveryPolicy(t *testing.T) {
	w := newWorld()
	w.needs(1)
	w.preview().MaxTTLSeconds = ptr.To[int32](900)
	w.preview().When = when("request.taskID.startsWith('pr-')", "a preview is for a pull request")
	w.preview().Limits = &v1alpha1.Limits{Active: ptr.To[int32](2)}
	w.Active = map[string]int{"preview-builds": 2}
	other := allow("another-repo")
	other.Spec.Repos, other.Spec.Namespaces = []string{"payments", "ledger-*"}, []string{"agents"}
	w.add(other)
	late := deny("no-nights")
	late.Spec.When = when("job.serviceAccountName == 'night'", "nothing runs at night")
	w.add(late)
	w.Job = nil
	w.Digest = ""
	c := newCompiler(t)
	for _, p := range w.policies {
		w.Policies = NewSet(append(w.Policies.All(), c.Compile(p))...)
	}
	d, all := Explain(w.Facts)
	if d.Reason != v1alpha1.ReasonAwaitingJob {
		t.Errorf("decided %s", d.Reason)
	}
	var got []string
	for _, x := range all {
		got = append(got, x.Policy+" "+string(x.Effect)+" "+string(x.Matches))
		for _, c := range x.Clauses {
			got = append(got, "  "+string(c.Holds)+" "+c.Field+": "+c.Text)
		}
	}
	want := `no-nights Deny open
  yes capabilities: *; the request has publish-preview-build
  yes requesters: any; the request has ` + agent + `
  yes repos: any; the request has web-app
  yes environments: any; the request has preview
  open when[0]: nothing runs at night (depends on the Job)
preview-builds Allow open
  yes capabilities: publish-preview-build; the request has publish-preview-build
  yes requesters: ServiceAccount agents/web-app-bot; the request has ` + agent + `
  yes repos: web-app; the request has web-app
  yes environments: preview; the request has preview
  yes when[0]: a preview is for a pull request
  yes maxTTLSeconds: up to 900; the request has 900
  open approval: 1 approval, from group release-managers
  open limits.active: up to 2 at the same time; 2 are out
another-repo Allow no
  yes capabilities: publish-preview-build; the request has publish-preview-build
  yes requesters: ServiceAccount agents/web-app-bot; the request has ` + agent + `
  yes namespaces: agents; the request has agents
  no repos: payments, ledger-*; the request has web-app
  yes environments: preview; the request has preview
  yes maxTTLSeconds: up to 3600; the request has 900`
	if diff := cmp.Diff(strings.Split(want, "\n"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTheForemostPolicyIsTheOneThatWouldBeChosen, whatever stands first in the explanation.
func TestTheForemostPolicyIsTheOneThatWouldBeChosen(t *testing.T) {
	explain := func(edit func(*world)) []Explanation {
		w := newWorld()
		edit(w)
		w.Job, w.Digest = nil, ""
		c := newCompiler(t)
		for _, p := range w.policies {
			w.Policies = NewSet(append(w.Policies.All(), c.Compile(p))...)
		}
		_, all := Explain(w.Facts)
		return all
	}
	two := func(w *world) {
		w.needs(2)
		cheap := allow("z-cheap")
		cheap.Spec.Approval = &v1alpha1.Approval{Required: 1, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "alice"}}}
		w.add(cheap)
		w.add(deny("elsewhere"))
		w.policies[2].Spec.Repos = []string{"payments"}
	}
	x := Foremost(explain(two))
	if x == nil || x.Policy != "z-cheap" || x.Approvals != 1 || !slices.Equal(x.Approvers, []string{"user alice"}) {
		t.Errorf("got %+v", x)
	}
	if x := Foremost(explain(func(w *world) { w.preview().Repos = []string{"payments"} })); x != nil {
		t.Errorf("nothing fits, and %s is foremost", x.Policy)
	}
}

// TestWhatNobodyCountedIsNotSaidToBeNone: whoever asks may not see all grants.
func TestWhatNobodyCountedIsNotSaidToBeNone(t *testing.T) {
	w := newWorld()
	w.preview().Limits = &v1alpha1.Limits{Active: ptr.To[int32](2)}
	w.Policies = NewSet(newCompiler(t).Compile(w.policies[0]))
	_, all := Explain(w.Facts)
	last := all[0].Clauses[len(all[0].Clauses)-1]
	if want := (Clause{"limits.active", HoldsOpen, "up to 2 at the same time; how many are out is not known"}); last != want {
		t.Errorf("got %+v; want %+v", last, want)
	}
}
