// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package names knows what a repository and an environment may be called, and which names mean the same thing to a
// capability's back end. Policies, their tests, back ends and clients all ask it: if two of them read one name
// differently, a Deny can be walked around. It is pure.
package names

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// The longest names that a request can have, in characters.
const (
	LongestRepo        = 100
	LongestEnvironment = 63
)

// part is what stands between two slashes. No part begins with a dash, which programs take for an option, is "." or
// "..", which climb in a path, holds "..", which Vault refuses, or ends with a dot, which could make a ".." together
// with a template.
const part = `([A-Za-z0-9_]|[.][A-Za-z0-9_-])[A-Za-z0-9_-]*([.][A-Za-z0-9_-]+)*`

// The forms of names, as regular expressions, and the same in words. They take what GitHub, GitLab, Gitea and
// Bitbucket allow, but for what could widen a scope. The CRD of CapabilityRequest holds the same texts; a test
// compares them.
const (
	RepoForm  = `^` + part + `(/` + part + `)*$`
	RepoWords = "letters, digits, dots, underscores and dashes, with / between an owner and a name; " +
		"no part begins with a dash, ends with a dot or has two dots together"
	// An environment has no slash: environment a/b of repository c and environment a of repository b/c would make the
	// same scope. It has no dot either, which makes another host of ${request.environment}.example.com.
	EnvironmentForm  = `^[A-Za-z0-9_][A-Za-z0-9_-]*$`
	EnvironmentWords = "letters, digits, underscores and dashes; it does not begin with a dash"
)

// gitSuffix ends no repository's name at any forge: whatever serves git reads web-app.git as web-app.
const gitSuffix = ".git"

var (
	repoForm        = regexp.MustCompile(RepoForm)
	environmentForm = regexp.MustCompile(EnvironmentForm)
)

// checkForm says why no request may name a repository or an environment so.
func checkForm(field, name string, form *regexp.Regexp, longest int, words string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", field)
	case len(name) > longest:
		return fmt.Errorf("%s has %d characters; at most %d are allowed", field, len(name), longest)
	case !form.MatchString(name):
		return fmt.Errorf("%s %q is not allowed; allowed are %s", field, name, words)
	}
	return nil
}

func checkRepoForm(repo string) error {
	if err := checkForm("repo", repo, repoForm, LongestRepo, RepoWords); err != nil {
		return err
	}
	if strings.HasSuffix(strings.ToLower(repo), gitSuffix) {
		return fmt.Errorf("write repo %s without %s: no repository's name ends so", repo, gitSuffix)
	}
	return nil
}

// Check says why nothing may be rendered for the capability of this repository and this environment: see
// [CheckSpelling] and [CheckServed]. It is nil if nothing is wrong.
func Check(c *v1alpha1.Capability, repo, environment string) error {
	return cmp.Or(CheckSpelling(c, repo, environment), CheckServed(c, repo))
}

// CheckSpelling says why a request for the capability may not write a repository and an environment so: because of
// their form, or because the back end reads the same name in another spelling, which it names. It is nil if nothing
// is wrong. Without a capability the form alone is looked at.
func CheckSpelling(c *v1alpha1.Capability, repo, environment string) error {
	first, second := checkRepo(c, repo), checkEnvironment(c, environment)
	if first != nil && second != nil {
		return fmt.Errorf("%w; %w", first, second)
	}
	return cmp.Or(first, second)
}

// checkInternational says why a capability of Vault takes no name with a part that begins as international names do:
// some versions write such a name of a certificate in another spelling, xn--payments- as payments.
func checkInternational(c *v1alpha1.Capability, field, name string) error {
	if Of(c).international || !hasInternational(name) {
		return nil
	}
	return fmt.Errorf("%s %s is not allowed: capability %s takes no name of which a part begins with xn--, "+
		"which Vault may read as another name", field, name, c.Name)
}

func hasInternational(name string) bool {
	begins := func(part string) bool { return strings.HasPrefix(part, "xn--") }
	return slices.ContainsFunc(strings.FieldsFunc(name, isLabelEnd), begins)
}

func isLabelEnd(r rune) bool { return r == '.' || r == '/' }

// CheckServed says why a repository, in its one spelling, is none that the capability is for. It tells what the
// capability is for, so ask it only of a request that a policy allows.
func CheckServed(c *v1alpha1.Capability, repo string) error {
	if c == nil || c.Spec.GitHub == nil {
		return nil
	}
	if strings.Contains(repo, "/") {
		return fmt.Errorf("repo %s is not of %s, whose repositories capability %s is for",
			repo, c.Spec.GitHub.Owner, c.Name)
	}
	if all := c.Spec.GitHub.Repositories; !listed(all, repo) {
		return fmt.Errorf("repo %s is none that capability %s is for: %s", repo, c.Name, few(all))
	}
	return nil
}

func checkRepo(c *v1alpha1.Capability, repo string) error {
	if err := checkRepoForm(repo); err != nil || c == nil {
		return err
	}
	r := Of(c)
	if right := r.Repo(repo); right != repo {
		return fmt.Errorf("write repo as %s, not %s: capability %s takes each repository in one spelling, %s",
			right, repo, c.Name, r.repoSpelling())
	}
	if !r.fits(repo) {
		return fmt.Errorf("write repo as %s, not %s: capability %s takes names of %s, so that none is a folder of another",
			r.example(repo), repo, c.Name, count(r.parts))
	}
	return checkInternational(c, "repo", repo)
}

// example is a repository's name with the right number of parts: the last ones of a longer name.
func (r Rules) example(repo string) string {
	all := strings.Split(repo, "/")
	for len(all) < r.parts {
		all = append([]string{"OWNER"}, all...)
	}
	return strings.Join(all[len(all)-r.parts:], "/")
}

func count(parts int) string {
	if parts == 1 {
		return "one part, without a /"
	}
	return fmt.Sprintf("%d parts, with a / between them", parts)
}

// Longest returns the longest name of a repository that a request for the capability can have.
func Longest(c *v1alpha1.Capability) string {
	parts := max(1, Of(c).parts)
	return strings.Repeat("r/", parts-1) + strings.Repeat("r", LongestRepo-2*(parts-1))
}

func checkEnvironment(c *v1alpha1.Capability, environment string) error {
	err := checkForm("environment", environment, environmentForm, LongestEnvironment, EnvironmentWords)
	if err != nil || c == nil {
		return err
	}
	if right := Of(c).Environment(environment); right != environment {
		return fmt.Errorf("write environment as %s, not %s: "+
			"capability %s takes each environment in one spelling, in lower case", right, environment, c.Name)
	}
	return checkInternational(c, "environment", environment)
}

// few lists the first names, and says how many more there are.
func few(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// listed reports whether a capability of GitHub is for the repository. Its list compares as GitHub does, without
// case.
func listed(repositories []string, repo string) bool {
	for _, pattern := range repositories {
		if Match(strings.ToLower(pattern), repo) {
			return true
		}
	}
	return false
}
