// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"io/fs"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/config"
)

// The capabilities of the back ends, as far as names are concerned.
func onAWS() *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish"}, Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{}}}
}

func onGCP() *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "write"}, Spec: v1alpha1.CapabilitySpec{GCP: &v1alpha1.GCPCapability{}}}
}

func onVault() *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{}}}
}

func withParts(c *v1alpha1.Capability, parts int32) *v1alpha1.Capability {
	c.Spec.RepoParts = parts
	return c
}

func onGitHub() *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "artifacts"}, Spec: v1alpha1.CapabilitySpec{
		GitHub: &v1alpha1.GitHubCapability{Owner: "Acme", Repositories: []string{"Web-App", "payments", ".github", "tool-*"}}}}
}

func TestForms_AreThoseOfTheKind(t *testing.T) {
	text, err := fs.ReadFile(config.Kinds, "crd/valetkey.dev_capabilityrequests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kind := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, kind); err != nil {
		t.Fatal(err)
	}
	spec := kind.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	for field, want := range map[string]struct {
		form, words string
		longest     int64
	}{"repo": {RepoForm, RepoWords, LongestRepo}, "environment": {EnvironmentForm, EnvironmentWords, LongestEnvironment}} {
		is := spec.Properties[field]
		rules := map[string]int{"repo": 2, "environment": 1}[field]
		if len(is.XValidations) != rules || is.XValidations[0].Rule != "self.matches('"+want.form+"')" || is.XValidations[0].Message != "allowed are "+want.words {
			t.Errorf("%s: the kind has the rules %+v; want %s and %q", field, is.XValidations, want.form, want.words)
		}
		if is.MaxLength == nil || *is.MaxLength != want.longest || is.Pattern != "" {
			t.Errorf("%s: the kind takes %v characters of the pattern %q; want %d", field, is.MaxLength, is.Pattern, want.longest)
		}
	}
}

func TestCheck_NamesAsForgesWriteThemAreTaken(t *testing.T) {
	for _, repo := range []string{
		"w", "0", "_", "web-app", "web--app", "web_app", "web.app", "web-", "web_", "__init__", ".github", ".github-private", "web.git.app", "webgit", "acme.github.io",
		"acme/web-app", "group/sub-group/web.app_2", "Web-App", "ACME/Web", "C-", "node.js-", "a.b.c", ".-x", strings.Repeat("r", LongestRepo),
	} {
		c := onAWS()
		c.Spec.RepoParts = int32(strings.Count(repo, "/") + 1)
		if err := Check(c, repo, "preview"); err != nil {
			t.Errorf("repo %s: %v", repo, err)
		}
	}
	for _, environment := range []string{"preview", "Production", "github-pages", "pr_184", "eu-west-1", "Prod-", "_", strings.Repeat("e", LongestEnvironment)} {
		if err := Check(onAWS(), "web-app", environment); err != nil {
			t.Errorf("environment %s: %v", environment, err)
		}
	}
}

func TestCheck_NamesThatCouldWidenAScopeAreRefused(t *testing.T) {
	both := []string{
		"", "*", "web*", "?", "web?", ".", "..", "a..b", "web.", "-web", "-", "$", "${request.environment}", "${request.repo}", "${aws:username}", "$web", "{web}",
		"web app", " web", "web ", "web\n", "\nweb", "we\nb", "web\x00", "web\tapp", "web\r", "web\x1b", `web"app`, `web\app`, `web",`, "web'", "web`", "web:app", "web,app", "web;app",
		"web#app", "web@app", "web+app", "web=app", "web|app", "web&app", "web<app", "web>app", "web(app", "web[a]", "web!", "web~", "web^", "web%2e%2e", "web%2fapp",
		"wеb-app" /* a Cyrillic letter */, "ｗeb", "web\u200bapp", "web\u202eapp", "web\u00adapp", "web\u3164", "wéb", "web\xff", "\u212a", "\u017f", "\u0131", strings.Repeat("r", 101), strings.Repeat("r", 10_000),
	}
	for _, name := range append([]string{"web-app.git", "Web-App.GIT", "acme/web-app.git", ".git", "../web", "web/..", "web/../app", "web//app", "/web", "web/", "/", "./web", "web/.", "web/-app", "a../b", "a/..b"}, both...) {
		if err := Check(nil, name, "preview"); err == nil {
			t.Errorf("repo %.40q is taken", name)
		}
	}
	for _, name := range append([]string{"a/b", "../x", "v1.2", ".github", "web.app", "prеview", strings.Repeat("e", 64)}, both...) {
		if err := Check(nil, "web-app", name); err == nil {
			t.Errorf("environment %.40q is taken", name)
		}
	}
}

func TestCheck_AnotherSpellingIsRefusedWithTheRightOne(t *testing.T) {
	for _, tt := range []struct {
		name              string
		of                *v1alpha1.Capability
		repo, environment string
		// words of the refusal; empty where it is taken.
		words string
	}{
		{"GitHub's own", onGitHub(), "payments", "preview", ""},
		{"GitHub's repository whose name begins with a dot", onGitHub(), ".github", "preview", ""},
		{"one that the capability lists in capitals", onGitHub(), "web-app", "preview", ""},
		{"one of a pattern", onGitHub(), "tool-x", "preview", ""},
		{"GitHub's with its owner", onGitHub(), "acme/payments", "preview", "write repo as payments, not acme/payments: capability artifacts takes each repository in one spelling, in lower case and without its owner"},
		{"GitHub's with its owner in capitals", onGitHub(), "ACME/payments", "preview", "write repo as payments, not ACME/payments"},
		{"GitHub's in capitals", onGitHub(), "Payments", "preview", "write repo as payments, not Payments"},
		{"GitHub's, all of it in capitals", onGitHub(), "ACME/PAYMENTS", "preview", "write repo as payments"},
		{"GitHub's environment in capitals", onGitHub(), "payments", "Production", "write environment as production, not Production: capability artifacts takes each environment in one spelling, in lower case"},
		{"both", onGitHub(), "acme/payments", "Production", "write repo as payments, not acme/payments: capability artifacts takes each repository in one spelling, in lower case and without its owner; write environment as production"},
		{"another owner's", onGitHub(), "mallory/payments", "preview", "repo mallory/payments is not of Acme, whose repositories capability artifacts is for"},
		{"below an owner that has no folders", onGitHub(), "acme/acme/payments", "preview", "repo acme/acme/payments is not of Acme"},
		{"one that the capability is not for", onGitHub(), "secrets", "preview", "repo secrets is none that capability artifacts is for: Web-App, payments, .github, tool-*"},
		{"AWS's in capitals are others", onAWS(), "Payments", "Production", ""},
		{"AWS's in a folder", onAWS(), "acme/payments", "preview", "write repo as payments, not acme/payments: capability publish takes names of one part, without a /, so that none is a folder of another"},
		{"AWS's with an owner, where names have one", withParts(onAWS(), 2), "acme/payments", "preview", ""},
		{"AWS's without an owner, where names have one", withParts(onAWS(), 2), "acme", "preview", "write repo as OWNER/acme, not acme: capability publish takes names of 2 parts, with a / between them, so that none is a folder of another"},
		{"AWS's in a folder of an owner's", withParts(onAWS(), 2), "acme/payments/prod", "preview", "write repo as payments/prod, not acme/payments/prod"},
		{"a folder of the cluster's", &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{Kubernetes: &v1alpha1.KubernetesCapability{}}}, "acme/payments", "preview", "write repo as payments"},
		{"Google's objects in capitals are others", withParts(onGCP(), 2), "acme/Payments", "preview", ""},
		{"Google's buckets are in lower case", onGCP(), "payments", "Production", "write environment as production"},
		{"Vault's in capitals may be the same", onVault(), "Payments", "preview", "write repo as payments, not Payments: capability read takes each repository in one spelling, in lower case"},
		{"Vault's international name that is another's", onVault(), "xn--payments-", "preview", "repo xn--payments- is not allowed: capability read takes no name of which a part begins with xn--"},
		{"Vault's international name behind a dot", onVault(), "a.xn--payments-", "preview", "repo a.xn--payments- is not allowed"},
		{"Vault's international environment", onVault(), "payments", "xn--payments-", "environment xn--payments- is not allowed"},
		{"Vault's name with xn-- in it", onVault(), "axn--payments", "preview", ""},
		{"Vault's with an owner are others", withParts(onVault(), 2), "acme/payments", "preview", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tt.of, tt.repo, tt.environment)
			if (err == nil) != (tt.words == "") || (err != nil && !strings.Contains(err.Error(), tt.words)) {
				t.Errorf("got %v, want %q", err, tt.words)
			}
		})
	}
}

func TestCheck_LongListsAreCut(t *testing.T) {
	c := onGitHub()
	c.Spec.GitHub.Repositories = []string{"a", "b", "c", "d", "e", "f", "g"}
	if err := Check(c, "payments", "preview"); err == nil || !strings.HasSuffix(err.Error(), "is for: a, b, c, d, e and 2 more") {
		t.Errorf("got %v", err)
	}
}

// TestRead_APolicyMeansWhatTheBackEndMeans has each pattern in an Allow and in a Deny.
func TestRead_APolicyMeansWhatTheBackEndMeans(t *testing.T) {
	for _, tt := range []struct {
		name          string
		of            *v1alpha1.Capability
		pattern, repo string
		allow, deny   bool
	}{
		{"GitHub's own name", onGitHub(), "payments", "payments", true, true},
		{"GitHub's with its owner", onGitHub(), "acme/payments", "payments", true, true},
		{"GitHub's with its owner in capitals", onGitHub(), "ACME/Payments", "payments", true, true},
		{"GitHub's in capitals", onGitHub(), "Payments", "payments", true, true},
		{"all of the owner's", onGitHub(), "acme/*", "payments", true, true},
		{"all of any owner's", onGitHub(), "*/pay*", "payments", true, true},
		{"any", onGitHub(), "*", "payments", true, true},
		{"another owner's", onGitHub(), "mallory/payments", "payments", false, false},
		{"one that begins alike", onGitHub(), "pay", "payments", false, false},
		{"what was asked for in another spelling", onGitHub(), "payments", "ACME/Payments", true, true},
		{"AWS's own name", onAWS(), "payments", "payments", true, true},
		{"AWS's in capitals", onAWS(), "Payments", "payments", false, true},
		{"AWS's asked for in capitals", onAWS(), "pay*", "PAYMENTS", false, true},
		{"AWS's with an owner", onAWS(), "acme/payments", "payments", false, false},
		{"one in a folder that is asked for", onAWS(), "acme/payments", "acme", false, true},
		{"all in a folder that is asked for", onAWS(), "Acme/*", "acme", false, true},
		{"one in another folder", onAWS(), "acme/payments", "payments", false, false},
		{"one in a folder", withParts(onAWS(), 2), "acme", "acme/payments", false, true},
		{"one in a folder of that name", withParts(onAWS(), 2), "payments", "acme/payments", false, false},
		{"any, in a folder", withParts(onAWS(), 2), "*", "acme/payments", true, true},
		{"of GitHub, what is called as its owner", onGitHub(), "acme", "payments", false, false},
		{"Google's in capitals", onGCP(), "Payments", "payments", false, true},
		{"Vault's in capitals", onVault(), "Payments", "payments", true, true},
		{"of no capability", nil, "Payments", "payments", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := Of(tt.of).Read(tt.repo, "preview")
			if got := asked.RepoAmong([]string{"other", tt.pattern}, false); got != tt.allow {
				t.Errorf("an Allow matches: %t", got)
			}
			if got := asked.RepoAmong([]string{"other", tt.pattern}, true); got != tt.deny {
				t.Errorf("a Deny matches: %t", got)
			}
		})
	}
	for _, tt := range []struct {
		name                 string
		of                   *v1alpha1.Capability
		pattern, environment string
		allow, deny          bool
	}{
		{"GitHub's own name", onGitHub(), "production", "production", true, true},
		{"GitHub's in capitals", onGitHub(), "Production", "production", true, true},
		{"AWS's in capitals", onAWS(), "Production", "production", false, true},
		{"AWS's asked for in capitals", onAWS(), "prod*", "Production", false, true},
		{"Google's in capitals", onGCP(), "PROD*", "production", true, true},
		{"another", onGitHub(), "preview", "production", false, false},
	} {
		t.Run("environments: "+tt.name, func(t *testing.T) {
			asked := Of(tt.of).Read("web-app", tt.environment)
			if got := asked.EnvironmentAmong([]string{"other", tt.pattern}, false); got != tt.allow {
				t.Errorf("an Allow matches: %t", got)
			}
			if got := asked.EnvironmentAmong([]string{"other", tt.pattern}, true); got != tt.deny {
				t.Errorf("a Deny matches: %t", got)
			}
		})
	}
}

func TestPossible_IsWhatSomeRequestCanHave(t *testing.T) {
	for _, tt := range []struct {
		of      *v1alpha1.Capability
		pattern string
		want    bool
	}{
		{onGitHub(), "payments", true}, {onGitHub(), "Payments", true}, {onGitHub(), "acme/payments", true}, {onGitHub(), "*", true}, {onGitHub(), "*/*", true}, {onGitHub(), "ac*/web*", true}, {onGitHub(), "ac*/x", false}, {onGitHub(), "paymets", false}, {onGitHub(), "*-x", true}, {onGitHub(), "acme/web-ap", false},
		{onVault(), "xn--payments", false}, {onVault(), "XN--*", false}, {onVault(), "a.xn--b", false}, {onVault(), "axn--b", true}, {onAWS(), "xn--payments", true},
		{onGitHub(), "mallory/payments", false}, {onGitHub(), "acme/a/b", false}, {onGitHub(), "*/*/*", false}, {onGitHub(), "-x", false},
		{withParts(onAWS(), 2), "mallory/payments", true}, {withParts(onAWS(), 2), "*", true}, {withParts(onAWS(), 2), "payments", false}, {onAWS(), "mallory/payments", false}, {onAWS(), "*", true}, {onAWS(), "acme//*", false}, {onAWS(), "../x", false}, {onAWS(), "web.", false}, {onAWS(), ".*", true}, {onAWS(), "*.git", false}, {onAWS(), "*.gi*", true}, {withParts(onVault(), 3), "a/b/c", true}, {onVault(), "a/b/c", false},
	} {
		if got := Of(tt.of).RepoPossible(tt.pattern); got != tt.want {
			t.Errorf("%s of %s: %t", tt.pattern, tt.of.Name, got)
		}
	}
	for pattern, want := range map[string]bool{"preview": true, "Preview": true, "pre-*": true, "*": true, "a/b": false, "..": false, "-*": false} {
		if got := Of(onVault()).EnvironmentPossible(pattern); got != want {
			t.Errorf("environment %s: %t", pattern, got)
		}
	}
	if Of(onVault()).EnvironmentPossible("xn--preview") || !Of(onAWS()).EnvironmentPossible("xn--preview") {
		t.Error("an international name is an environment of Vault's, or is none of AWS's")
	}
}

func TestRepo_TheOneSpellingIsLeftAsItIs(t *testing.T) {
	for _, c := range []*v1alpha1.Capability{onAWS(), onGCP(), onVault(), onGitHub(), nil} {
		for _, name := range []string{"payments", "Payments", "acme/payments", "ACME/Payments", "acme/acme/payments", "acme/acme/acme", "acme/", "acme", "a/b/c"} {
			if once := Of(c).Repo(name); Of(c).Repo(once) != once {
				t.Errorf("%s becomes %s, and then %s", name, once, Of(c).Repo(once))
			}
		}
	}
}

func TestRepos_PatternsAreInTheSpellingThatARequestNeeds(t *testing.T) {
	patterns := []string{"acme/*", "Web-App", "ACME/web-app", "*/tool-*", "mallory/x", "a..b"}
	if got := strings.Join(Of(onGitHub()).Repos(patterns), " "); got != "* web-app tool-*" {
		t.Errorf("of GitHub: %s", got)
	}
	if got := strings.Join(Of(onAWS()).Repos(patterns), " "); got != "Web-App" {
		t.Errorf("of AWS: %s", got)
	}
	if got := strings.Join(Of(withParts(onAWS(), 2)).Repos(patterns), " "); got != "acme/* ACME/web-app */tool-* mallory/x" {
		t.Errorf("of AWS with owners: %s", got)
	}
	if got := strings.Join(Of(onVault()).Environments([]string{"Production", "production", "a/b"}), " "); got != "production" {
		t.Errorf("environments: %s", got)
	}
}

func TestAlike_FindsEverySpelling(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"payments", "Payments", true}, {"acme/payments", "payments", true}, {"payments", "ACME/Payments", true}, {"group/acme/payments", "Acme/payments", true},
		{"payments", "payments-2", false}, {"my-payments", "payments", false}, {"acme/payments", "mallory/payments", false}, {"acme", "acme/payments", false},
	} {
		if got := Alike(tt.a, tt.b); got != tt.want {
			t.Errorf("%s and %s: %t", tt.a, tt.b, got)
		}
	}
}

// FuzzCheck sees that of all names that mean one repository to GitHub, or to a service that does not tell case apart,
// one is taken.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"payments", "acme/payments", "ACME/Payments", ".github", "web--app", "a/b/c", "*", "..", "\u212a"} {
		f.Add(seed)
	}
	open := onGitHub()
	open.Spec.GitHub.Repositories = []string{"*"}
	f.Fuzz(func(t *testing.T, name string) {
		for _, c := range []*v1alpha1.Capability{open, onVault()} {
			if Check(c, name, "preview") != nil {
				continue
			}
			if name != strings.ToLower(name) || (c == open && strings.Contains(name, "/")) {
				t.Errorf("%q is taken for %s, and is another spelling", name, c.Name)
			}
			for _, b := range []byte(name) {
				if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789._-/", rune(b)) {
					t.Errorf("%q is taken, with the byte %x", name, b)
				}
			}
			if strings.Contains("/"+name+"/", "/./") || strings.Contains(name, "..") || strings.Contains(name, "//") || strings.HasPrefix(name, "/") {
				t.Errorf("%q is taken, and climbs", name)
			}
		}
	})
}
