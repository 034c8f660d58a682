// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestARefusalTellsOfTheNearestOfAllPolicies compares with looking into every policy whole. Of those that miss a field, which are told of is a matter of
// their fields and names.
func TestARefusalTellsOfTheNearestOfAllPolicies(t *testing.T) {
	c := newCompiler(t)
	random := rand.New(rand.NewPCG(7, 11))
	for range 50 {
		w := newWorld()
		w.Risks = slices.Repeat([]Risk{{Needs: v1alpha1.AcceptUnpinnedImage, Message: "an image"}}, random.IntN(2)*150)
		for i := range 3 + random.IntN(40) {
			p := allow(fmt.Sprintf("policy-%02d", random.IntN(900)+i*1000))
			p.Spec.Requesters[0].Name = []string{"web-app-bot", "web-app-bot", "somebody"}[random.IntN(3)]
			p.Spec.Repos = [][]string{{"web-app"}, {"api"}}[random.IntN(2)]
			p.Spec.Environments = [][]string{{"preview"}, {"production"}}[random.IntN(2)]
			p.Spec.When = when("request.ttlSeconds < 0", "what cannot be")
			for range random.IntN(3) {
				p.Spec.When = append(p.Spec.When, p.Spec.When[0])
			}
			p.Spec.Accept = [][]v1alpha1.Acceptance{nil, {v1alpha1.AcceptUnpinnedImage}}[random.IntN(2)]
			w.Policies = NewSet(append(w.Policies.All(), c.Compile(p))...)
		}
		got := Evaluate(w.Facts)
		if want := wholly(w.Facts); got.Verdict != Deny || (want != "" && got.Message != want) {
			t.Fatalf("got %s %s\nwant %s", got.Verdict, got.Message, want)
		}
	}
}

// wholly are the words of a refusal, by looking into every policy; empty if no policy is about the capability and the requester.
func wholly(f Facts) string {
	e := evaluation{Facts: f, vars: f.variables()}
	var all []refusal
	for _, p := range f.Policies.All() {
		if misses := e.misses(p); !slices.ContainsFunc(misses, func(m miss) bool { return m.far == nobodyAsked }) {
			all = append(all, refusal{policy: p, misses: misses})
		}
	}
	byFields := func(r refusal) (far distance) {
		for _, m := range r.misses {
			if m.far == fieldAway {
				far += m.far
			}
		}
		return far
	}
	slices.SortFunc(all, func(a, b refusal) int {
		if byFields(a) == 0 && byFields(b) == 0 {
			return a.compare(b)
		}
		return cmp.Or(cmp.Compare(byFields(a), byFields(b)), cmp.Compare(a.policy.name(), b.policy.name()))
	})
	all = all[:min(len(all), maxListed)]
	slices.SortFunc(all, refusal.compare)
	return Clip(describe(all), maxMessageLength)
}

func TestRefusal_WhatSeveralPoliciesMissIsSaidOnce(t *testing.T) {
	strong := []Risk{{v1alpha1.AcceptSecretReader, "bot may get Secrets (RoleBinding edit)"},
		{v1alpha1.AcceptRequesterMayApprove, "bot may approve requests"},
		{v1alpha1.AcceptSecretReader, "runner may get Secrets (RoleBinding edit)"}}
	const tooStrong = "does not accept SecretReader: bot may get Secrets (RoleBinding edit), and runner may get Secrets " +
		"(RoleBinding edit), and does not accept RequesterMayApprove: bot may approve requests"
	accepts := func(p *v1alpha1.CapabilityPolicySpec) {
		p.Accept = []v1alpha1.Acceptance{v1alpha1.AcceptRequesterMayApprove}
	}
	elsewhere := func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"api"} }
	short := func(p *v1alpha1.CapabilityPolicySpec) { p.MaxTTLSeconds = ptr.To[int32](300) }
	for name, row := range map[string]struct {
		risks    []Risk
		policies []func(*v1alpha1.CapabilityPolicySpec)
		want     string
	}{
		"one policy":              {strong, []func(*v1alpha1.CapabilityPolicySpec){nil}, "policy p0 " + tooStrong},
		"three that say the same": {strong, []func(*v1alpha1.CapabilityPolicySpec){nil, nil, nil}, "each of the policies p0, p1, p2 " + tooStrong},
		"one misses more": {strong, []func(*v1alpha1.CapabilityPolicySpec){nil, elsewhere},
			"each of the policies p0, p1 " + tooStrong + "; policy p1 allows repos api"},
		"one accepts a part": {strong, []func(*v1alpha1.CapabilityPolicySpec){accepts, nil},
			"each of the policies p0, p1 does not accept SecretReader: bot may get Secrets (RoleBinding edit), and runner may get Secrets " +
				"(RoleBinding edit); policy p1 does not accept RequesterMayApprove: bot may approve requests"},
		"fields": {nil, []func(*v1alpha1.CapabilityPolicySpec){elsewhere, elsewhere, short},
			"policy p2 allows ttlSeconds up to 300; each of the policies p0, p1 allows repos api"},
	} {
		w := newWorld()
		w.Risks, w.Policies = row.risks, nil
		for i, edit := range row.policies {
			p := allow(fmt.Sprintf("p%d", i))
			if edit != nil {
				edit(&p.Spec)
			}
			w.Policies = NewSet(append(w.Policies.All(), newCompiler(t).Compile(p))...)
		}
		if got := Evaluate(w.Facts); got.Verdict != Deny || got.Message != row.want {
			t.Errorf("%s: %s: %s\nwant %s", name, got.Verdict, got.Message, row.want)
		}
	}
}

// TestRefusal_OfThousandsOfRisksMakesNoMoreThanIsKept: a Job can name inputs thousands of times, and its refusal keeps a kilobyte of that.
func TestRefusal_OfThousandsOfRisksMakesNoMoreThanIsKept(t *testing.T) {
	c, w := newCompiler(t), newWorld()
	for i := range 3000 {
		w.Risks = append(w.Risks, Risk{Needs: v1alpha1.AcceptMutableInput, Message: fmt.Sprintf("env %0150d can change", i)})
	}
	for i := range 2 * maxListed {
		p := allow(fmt.Sprintf("policy-%02d", i))
		p.Spec.Accept = nil
		w.Policies = NewSet(append(w.Policies.All(), c.Compile(p))...)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := Evaluate(w.Facts)
	runtime.ReadMemStats(&after)
	const most = 16 << 20 // Looking at each once takes a tenth of that, and a text that grows by each a gigabyte.
	if made := after.TotalAlloc - before.TotalAlloc; made > most {
		t.Errorf("%d MiB are made of a refusal of %d bytes", made>>20, len(d.Message))
	}
	if !strings.Contains(d.Message, "does not accept MutableInput: env 000") {
		t.Errorf("it says %s", d.Message)
	}
}
