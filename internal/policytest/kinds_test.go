// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"strings"
	"testing"
)

// TestKinds_OtherFormsOfAWorkloadIdentityProviderAreRefusedWithTheRightOne: Google writes the name of one in several.
func TestKinds_OtherFormsOfAWorkloadIdentityProviderAreRefusedWithTheRightOne(t *testing.T) {
	kinds, err := readKinds()
	if err != nil {
		t.Fatal(err)
	}
	const right = "projects/123456789012/locations/global/workloadIdentityPools/agents/providers/cluster"
	for name, taken := range map[string]bool{
		right:                                 true,
		"//iam.googleapis.com/" + right:       false,
		"https://iam.googleapis.com/" + right: false,
		"projects/acme-previews" + strings.TrimPrefix(right, "projects/123456789012"): false,
		strings.TrimSuffix(right, "/providers/cluster"):                               false,
		strings.Replace(right, "global", "europe-west1", 1):                           false,
		right + "/":               false,
		"agents/cluster":          false,
		"${{ secrets.PROVIDER }}": false,
	} {
		problems := kinds[kindProvider].admit(map[string]any{
			"apiVersion": "valetkey.dev/v1alpha1", "kind": kindProvider, "metadata": map[string]any{"name": "google"},
			"spec": map[string]any{"gcp": map[string]any{"workloadIdentityProvider": name}},
		})
		said := strings.Join(problems, "; ")
		if (said == "") != taken || !taken && !strings.Contains(said, "write projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER") {
			t.Errorf("%s: %s", name, said)
		}
	}
}
