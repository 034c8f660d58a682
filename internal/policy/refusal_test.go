// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestARefusalTellsOfTheNearestOfAllPolicies compares with looking into every policy whole.
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
			w.Policies = append(w.Policies, c.Compile(p))
		}
		got := Evaluate(w.Facts)
		if want := wholly(w.Facts); got.Verdict != Deny || (want != "" && got.Message != want) {
			t.Fatalf("got %s %s\nwant %s", got.Verdict, got.Message, want)
		}
	}
}

// wholly are the words of a refusal, by looking into every policy; empty if no policy is about the capability and the requester.
func wholly(f Facts) string {
	e := evaluation{Facts: f, vars: variables(f.Request, f.Capability, f.Job)}
	var all []refusal
	for _, p := range f.Policies {
		if misses := e.misses(p); !slices.ContainsFunc(misses, func(m miss) bool { return m.far == nobodyAsked }) {
			all = append(all, refusal{policy: p, misses: misses})
		}
	}
	slices.SortFunc(all, refusal.compare)
	var words []string
	for _, r := range all[:min(len(all), maxListed)] {
		words = append(words, r.String())
	}
	return Clip(strings.Join(words, "; "), maxMessageLength)
}
