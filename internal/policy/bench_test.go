// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// BenchmarkEvaluate decides among a hundred policies, each with an expression, of which the last allows.
func BenchmarkEvaluate(b *testing.B) {
	c := newCompiler(b)
	f := newWorld().Facts
	for i := range 99 {
		p := allow(fmt.Sprintf("policy-%02d", i))
		p.Spec.Repos = []string{fmt.Sprintf("repo-%02d-*", i), "acme/*"}
		if i%10 == 0 {
			p = deny(p.Name)
		}
		p.Spec.When = when("request.ttlSeconds > 900 && job.images.all(i, i.startsWith('registry.example.com/'))", "as asked")
		f.Policies = NewSet(append(f.Policies.All(), c.Compile(p))...)
	}
	f.Policies = NewSet(append(f.Policies.All(), c.Compile(allow("preview-builds")))...)
	b.ReportAllocs()
	for b.Loop() {
		if got := Evaluate(f); got.Verdict != Allow {
			b.Fatal(got.Message)
		}
	}
}

// BenchmarkEvaluateAmongOthers decides among two thousand policies about other repositories: what the last of them allows, and what none does.
func BenchmarkEvaluateAmongOthers(b *testing.B) {
	c := newCompiler(b)
	all := make([]*Compiled, 2000)
	for i := range all {
		p := allow(fmt.Sprintf("policy-%04d", i))
		p.Spec.Repos = []string{fmt.Sprintf("repo-%04d", i)}
		p.Spec.When = when("request.ttlSeconds <= 900", "as asked")
		all[i] = c.Compile(p)
	}
	for name, row := range map[string]struct {
		all  []*Compiled
		want Verdict
	}{
		"allowed": {append(all, c.Compile(allow("preview-builds"))), Allow},
		"refused": {all, Deny},
	} {
		b.Run(name, func(b *testing.B) {
			f := newWorld().Facts
			f.Policies = NewSet(row.all...)
			b.ReportAllocs()
			for b.Loop() {
				if got := Evaluate(f); got.Verdict != row.want {
					b.Fatal(got.Message)
				}
			}
		})
	}
}

// BenchmarkCompile compiles one policy, as happens once for each of its generations.
func BenchmarkCompile(b *testing.B) {
	c := newCompiler(b)
	p := policyWith("request.ttlSeconds <= 900", "request.requester.groups.exists(g, g.startsWith('team-'))")
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Compile(p).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDigest makes the digest of an ordinary review.
func BenchmarkDigest(b *testing.B) {
	in := reviewOf(newJob())
	in.Provider = &v1alpha1.CapabilityProvider{}
	b.ReportAllocs()
	for b.Loop() {
		Digest(in)
	}
}
