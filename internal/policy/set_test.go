// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// TestSet_FindsWhatALookAtEachPolicyFinds, each once, however a back end reads names.
func TestSet_FindsWhatALookAtEachPolicyFinds(t *testing.T) {
	c := newCompiler(t)
	random := rand.New(rand.NewPCG(5, 13))
	some := func(of ...string) (chosen []string) {
		for range random.IntN(4) {
			chosen = append(chosen, of[random.IntN(len(of))])
		}
		return chosen
	}
	backEnds := []v1alpha1.CapabilitySpec{
		{AWS: &v1alpha1.AWSCapability{}}, {AWS: &v1alpha1.AWSCapability{}, RepoParts: 2}, {GCP: &v1alpha1.GCPCapability{}, RepoParts: 3},
		{GitHub: &v1alpha1.GitHubCapability{Owner: "Acme"}}, {Vault: &v1alpha1.VaultCapability{}, RepoParts: 2},
		{Kubernetes: &v1alpha1.KubernetesCapability{}},
	}
	found := 0
	for range 300 {
		all := make([]*Compiled, 1+random.IntN(30))
		for i := range all {
			p := allow(fmt.Sprintf("policy-%02d", i))
			if random.IntN(3) == 0 {
				p = deny(p.Name)
			}
			p.Spec.Capabilities = some("publish-preview-build", "deploy", "*")
			p.Spec.Repos = some("web-app", "Web-App", "web-*", "acme/web-app", "ACME/web-app", "acme/web/app", "acme", "*/web-app", "*", "acme/*", "other")
			p.Spec.Environments = some("preview", "Preview", "prod*")
			all[i] = c.Compile(p)
		}
		set := NewSet(all...)
		for _, repo := range []string{"web-app", "Web-App", "acme", "acme/web-app", "acme/web/app", "third"} {
			w := newWorld()
			w.Request.Spec.Repo = repo
			capability := v1alpha1.Capability{Spec: backEnds[random.IntN(len(backEnds))]}
			asked := names.Of(&capability).Read(repo, "preview")
			for _, effect := range []bool{true, false} {
				var want []string
				for _, p := range set.All() {
					if p.allows() == effect && p.matchesFields(w.Request, asked) {
						want = append(want, p.name())
					}
				}
				var got []string
				for p := range set.matching(effect, w.Request, asked) {
					got = append(got, p.name())
				}
				slices.Sort(got)
				if found += len(want); !slices.Equal(got, want) {
					t.Fatalf("of repo %s, allow %t, it finds %v, not %v", repo, effect, got, want)
				}
			}
		}
	}
	if found < 1000 {
		t.Errorf("it was asked for %d", found)
	}
}
