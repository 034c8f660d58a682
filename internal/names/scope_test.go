// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names_test

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// TestCheckScope_ValuesThatMeetInOnePlace: a Deny of one repo would be walked around by an environment of its name.
func TestCheckScope_ValuesThatMeetInOnePlace(t *testing.T) {
	parameters := func(of ...string) v1alpha1.CapabilitySpec {
		c := &v1alpha1.VaultCapability{Path: "pki/issue/previews"}
		for i := 0; i < len(of); i += 2 {
			c.Parameters = append(c.Parameters, v1alpha1.VaultParameter{Name: of[i], Value: of[i+1]})
		}
		return v1alpha1.CapabilitySpec{Vault: c}
	}
	statements := func(of ...string) v1alpha1.CapabilitySpec {
		c := &v1alpha1.AWSCapability{}
		for i := 0; i < len(of); i += 2 {
			c.Scope = append(c.Scope, v1alpha1.AWSStatement{Actions: []string{of[i]}, Resources: []string{of[i+1]}})
		}
		return v1alpha1.CapabilitySpec{AWS: c}
	}
	const repo, environment = "${request.repo}", "${request.environment}"
	for name, row := range map[string]struct {
		spec v1alpha1.CapabilitySpec
		good bool
	}{
		"two names of a certificate":      {parameters("common_name", repo+".example.com", "alt_names", environment+".example.com"), false},
		"two in one list":                 {parameters("alt_names", repo+".example.com,"+environment+".example.com"), false},
		"two in one list, behind a blank": {parameters("alt_names", repo+".example.com, "+environment+".example.com"), false},
		"two, in capitals":                {parameters("common_name", repo+".example.com", "alt_names", environment+".Example.com"), false},
		"two, with a dot at the end":      {parameters("common_name", repo+".example.com", "alt_names", environment+".example.com."), false},
		"two, one of another kind": {parameters("common_name", repo+".example.com",
			"other_sans", "1.3.6.1.4.1.311.20.2.3;UTF8:"+environment+".example.com"), false},
		"the same name twice": {parameters("common_name", repo+".example.com", "alt_names", repo+".example.com,"+repo+".example.org"), true},
		"two in domains of their own, which may be one as read": {parameters("common_name", repo+".repos.example.com",
			"alt_names", environment+".environments.example.com"), false},
		"two in one international domain": {parameters("alt_names",
			repo+".bücher.example.com, "+environment+".xn--bcher-kva.example.com"), false},
		"an international domain":                {parameters("alt_names", repo+".bücher.example.com"), false},
		"an international domain, in its ASCII":  {parameters("alt_names", repo+".xn--bcher-kva.example.com"), true},
		"a value as an international name":       {parameters("alt_names", "xn--"+repo+".example.com"), false},
		"a value that can make one":              {parameters("alt_names", "x"+repo+".example.com"), false},
		"a value behind another beginning":       {parameters("alt_names", "web-x"+repo+".example.com"), true},
		"a percent escape":                       {parameters("uri_sans", "spiffe://example.org/%70/"+repo), false},
		"a folder that climbs":                   {parameters("uri_sans", "spiffe://example.org/x/../"+repo), false},
		"a folder that is itself":                {parameters("uri_sans", "spiffe://example.org/./"+repo), false},
		"a fixed name in capitals":               {parameters("common_name", "Payments.example.com", "alt_names", repo+".example.org"), false},
		"a fixed name in capitals, and no value": {parameters("common_name", "Payments.example.com", "alt_names", "b.example.org"), true},
		"a fixed name of its own":                {parameters("common_name", "preview.example.com", "alt_names", repo+".example.org"), true},
		"a fixed name that is somebody's":        {parameters("common_name", "payments.example.org", "alt_names", repo+".example.org"), false},
		"two addresses in other spellings": {parameters("ip_sans",
			"10.0.0."+repo+", ::ffff:10.0.0."+environment), false},
		"an address":                           {parameters("ip_sans", "10.0.0."+repo), false},
		"an address without a value":           {parameters("ip_sans", "10.0.0.7", "common_name", repo+".example.com"), true},
		"a number of the subject":              {parameters("common_name", repo, "serial_number", environment), false},
		"a user's ID":                          {parameters("common_name", repo, "user_ids", environment), false},
		"what an engine may take for a name":   {parameters("common_name", repo, "organization", environment), false},
		"how long a certificate lives":         {parameters("common_name", repo, "ttl", "15m", "format", "PEM"), true},
		"a name with a request of its own":     {parameters("common_name", repo, "csr", "-----BEGIN CERTIFICATE REQUEST-----"), true},
		"the other order":                      {parameters("uri_sans", "spiffe://e/"+repo+"/"+environment+",spiffe://f/"+environment+"/"+repo), false},
		"one with a value more":                {parameters("common_name", repo+".example.com", "uri_sans", "spiffe://e/"+repo+"/"+environment), false},
		"the same order, elsewhere":            {parameters("uri_sans", "spiffe://e/"+repo+"/"+environment+",spiffe://f/"+repo+"/"+environment), true},
		"one name that lies in another's zone": {parameters("alt_names", repo+".example.com,"+repo+".x.example.com"), false},
		"two behind a ; that is no type": {parameters("uri_sans",
			"spiffe://example.org/"+repo+";role:reader,spiffe://example.org/"+environment+";role:reader"), false},
		"values that run into each other before a ;": {parameters("uri_sans",
			"spiffe://example.org/"+repo+"-"+environment+";role:reader"), false},
		"a fixed URI beside another's":            {parameters("uri_sans", "https://h/"+repo+", https://h:443/payments"), false},
		"a fixed name beside another's":           {parameters("other_sans", "1.3.6;utf8:"+repo+",1.3.06;utf8:payments"), false},
		"a fixed URI beside another kind of name": {parameters("common_name", repo+".example.com", "uri_sans", "https://h/x"), true},
		"one value before a ;":                    {parameters("uri_sans", "spiffe://example.org/"+repo+";role:reader"), true},
		"one value of another kind":               {parameters("other_sans", "1.3.6.1.4.1.311.20.2.3;utf8:"+repo+"@example.com"), true},
		"one in capitals":                         {parameters("other_sans", "1.3.6.1.4.1.311.20.2.3;UTF8:"+repo+"@example.com"), false},
		"principals":                              {parameters("valid_principals", repo+","+environment), false},
		"principals, told apart":                  {parameters("valid_principals", "repo-"+repo+", environment-"+environment), false},
		"a fixed principal":                       {parameters("valid_principals", "deploy,"+repo), false},
		"principals with blanks":                  {parameters("valid_principals", repo+" "+environment), false},
		"principals in lines":                     {parameters("valid_principals", repo+"\n"+environment), false},
		"principals with a ;":                     {parameters("valid_principals", repo+";"+environment), false},
		"a principal of both":                     {parameters("valid_principals", repo+":"+environment), true},
		"a list as JSON":                          {parameters("names", `["`+repo+`","`+environment+`"]`), false},
		"parameters of other names":               {parameters("repo", repo, "environment", environment), true},
		"two actions that read the same": {statements("s3:GetObject", "arn:aws:s3:::b/"+repo+"/*",
			"s3:GetObjectVersion", "arn:aws:s3:::b/"+environment+"/*"), false},
		"the same values in the same order": {statements("s3:GetObject", "arn:aws:s3:::b/"+repo+"/*",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), true},
		"a place for everybody, by another action": {statements("s3:GetObject", "arn:aws:s3:::b/*",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), true},
		"a place for everybody, by the same action": {statements("s3:Get*", "arn:aws:s3:::b/*",
			"s3:GetObject", "arn:aws:s3:::b/"+repo+"/*"), false},
		"somebody's place, by another action": {statements("s3:PutObject", "arn:aws:s3:::b/"+repo+"/index.html",
			"s3:GetObject", "arn:aws:s3:::b/payments/index.html"), false},
		"somebody's place, written first": {statements("s3:GetObject", "arn:aws:s3:::b/payments/index.html",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/index.html"), false},
		"somebody's folder, by another action": {statements("s3:GetObject", "arn:aws:s3:::b/payments/*",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), false},
		"the places of those that begin alike, by another action": {statements("s3:GetObject", "arn:aws:s3:::b/pay*",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), false},
		"one file of everybody's, by another action": {statements("s3:GetObject", "arn:aws:s3:::b/*/index.html",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), false},
		"some places of everybody's, with a * more": {statements("s3:GetObject", "arn:aws:s3:::b/*/*",
			"s3:PutObject", "arn:aws:s3:::b/"+repo+"/*"), false},
		"the folder above, by another action": {statements("s3:PutObject", "arn:aws:s3:::b/previews/"+repo+"/*",
			"s3:GetObject", "arn:aws:s3:::b/previews/*"), true},
		"a folder of its own, by another action": {statements("s3:PutObject", "arn:aws:s3:::b/previews/"+repo+"/*",
			"s3:GetObject", "arn:aws:s3:::b/shared/*"), true},
		"the bucket itself": {statements("s3:PutObject", "arn:aws:s3:::b/"+repo+"/*",
			"s3:ListBucket", "arn:aws:s3:::b"), true},
	} {
		if err := names.CheckScope(&v1alpha1.Capability{Spec: row.spec}); (err == nil) != row.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestToldBy_IsWhatDecidesAboutTheCredential: a policy that tells requests apart by another field keeps nothing from
// anybody.
func TestToldBy_IsWhatDecidesAboutTheCredential(t *testing.T) {
	aws := func(resources ...string) v1alpha1.CapabilitySpec {
		return v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{Scope: []v1alpha1.AWSStatement{{Resources: resources}}}}
	}
	for name, row := range map[string]struct {
		spec v1alpha1.CapabilitySpec
		want string
	}{
		"one":                         {aws("arn:aws:s3:::b/${request.repo}/*"), "repo"},
		"none":                        {aws("arn:aws:s3:::b/*"), ""},
		"both":                        {aws("arn:aws:s3:::b/${request.environment}/${request.repo}/*"), "repo environment"},
		"one in one place alone":      {aws("arn:aws:s3:::b/${request.repo}/*", "arn:aws:s3:::c/${request.repo}/${request.environment}/*"), "repo"},
		"twice in a place":            {aws("arn:aws:s3:::b/${request.repo}/${request.repo}/*", "arn:aws:s3:::c/${request.environment}/*"), ""},
		"beside a fixed place":        {aws("arn:aws:s3:::b/${request.repo}/*", "arn:aws:s3:::b"), "repo"},
		"of GitHub the repository":    {v1alpha1.CapabilitySpec{GitHub: &v1alpha1.GitHubCapability{}}, "repo"},
		"of the cluster nothing":      {v1alpha1.CapabilitySpec{Kubernetes: &v1alpha1.KubernetesCapability{}}, ""},
		"of a token all that it says": {v1alpha1.CapabilitySpec{Token: &v1alpha1.TokenCapability{}}, "repo environment namespace"},
		"of Vault the whole call": {v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{Path: "x/${request.repo}",
			Parameters: []v1alpha1.VaultParameter{{Name: "environment", Value: "${request.environment}"}}}}, "repo environment"},
		"of Google Cloud": {v1alpha1.CapabilitySpec{GCP: &v1alpha1.GCPCapability{
			Boundary: []v1alpha1.GCPBoundaryRule{{Bucket: "b-${request.environment}", Prefix: "${request.repo}/"}}}}, "repo environment"},
	} {
		if got := strings.Join(names.ToldBy(&v1alpha1.Capability{Spec: row.spec}), " "); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}
