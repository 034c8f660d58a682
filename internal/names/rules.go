// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Rules say how a capability's back end reads names. Capabilities whose Rules are equal read every name alike.
type Rules struct {
	// owner of all repositories, in lower case. It is empty where a name is not known to have one.
	owner string
	// repoCased and environmentCased are set where upper and lower case make different names.
	repoCased, environmentCased bool
	// parts is how many parts a repository's name has, with a / between them. It is 0 where that is not known, and for
	// GitHub, whose repositories are told apart by their owner.
	parts int
	// served are the patterns of the repositories that the capability is for, in lower case and one a line. It is empty
	// where it is for all.
	served string
	// international is set where a part may begin as international names do: see checkInternational.
	international bool
}

// Of returns the rules of a capability's back end.
//
// AWS tells upper and lower case apart in the resources of a policy, and Cloud Storage does in the names of objects;
// names of buckets have no capitals. GitHub compares the names of owners, repositories and environments without case,
// and the capability names the one owner. Which of Vault's engines, and which services that a token is for, tell case
// apart is not known, and a token of the cluster is made from no name at all: there, names are in lower case, so that
// no two spellings can mean one thing.
//
// Everywhere but at GitHub, a name has as many parts as the capability says: acme would else be the folder that
// acme/payments is in.
func Of(c *v1alpha1.Capability) Rules {
	if c == nil {
		return Rules{international: true}
	}
	r := Rules{parts: max(1, int(c.Spec.RepoParts)), international: c.Spec.Vault == nil}
	switch {
	case c.Spec.AWS != nil:
		r.repoCased, r.environmentCased = true, true
	case c.Spec.GCP != nil:
		r.repoCased = true
	case c.Spec.GitHub != nil:
		r.parts, r.owner = 0, strings.ToLower(c.Spec.GitHub.Owner)
		r.served = strings.ToLower(strings.Join(c.Spec.GitHub.Repositories, "\n"))
	}
	return r
}

// serves reports whether the capability is for a repository that a pattern, without an owner, means.
func (r Rules) serves(pattern string) bool {
	return r.served == "" || slices.ContainsFunc(strings.Split(r.served, "\n"), func(one string) bool { return Overlap(one, pattern) })
}

// Served are those of a policy's patterns that mean repositories which the capability is for, and in place of a pattern
// that means more the repositories that it is for. Of a capability that is for all they are what they were.
func (r Rules) Served(patterns []string) []string {
	if r.served == "" {
		return patterns
	}
	var all []string
	for _, pattern := range r.Repos(patterns) {
		for one := range strings.SplitSeq(r.served, "\n") {
			switch {
			case !strings.Contains(one, Any) && Match(pattern, one):
				all = append(all, one)
			case strings.Contains(one, Any) && Overlap(pattern, one):
				all = append(all, pattern)
			}
		}
	}
	return all
}

// MeansAllServed reports whether a policy's pattern, written with a star, means each repository that the capability is
// for, where it is not for all. What a star there stands for is taken for a character that no pattern has.
func (r Rules) MeansAllServed(pattern string) bool {
	means := r.Repos([]string{pattern})
	if r.served == "" || len(means) == 0 || !strings.Contains(pattern, Any) {
		return false
	}
	for one := range strings.SplitSeq(r.served, "\n") {
		if !Match(means[0], strings.ReplaceAll(one, Any, "\x00")) {
			return false
		}
	}
	return true
}

// OfAll returns the different rules of capabilities. Where there is no capability, nothing is known but the form of
// names.
func OfAll(capabilities []*v1alpha1.Capability) []Rules {
	var all []Rules
	for _, c := range capabilities {
		if r := Of(c); !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return []Rules{{repoCased: true, environmentCased: true, international: true}}
	}
	return all
}

// Repo returns the one spelling of a repository's name, or of a pattern of names, in requests. It leaves a name in
// that spelling as it is.
func (r Rules) Repo(name string) string {
	if !r.repoCased {
		name = strings.ToLower(name)
	}
	if rest, own := strings.CutPrefix(name, r.owner+"/"); own && r.owner != "" && !strings.Contains(rest, "/") {
		return rest
	}
	return name
}

// Environment returns the one spelling of an environment's name, or of a pattern of names, in requests.
func (r Rules) Environment(name string) string {
	if r.environmentCased {
		return name
	}
	return strings.ToLower(name)
}

// Repos are the patterns of a policy in the one spelling, for whoever is to write names that they mean. Those that
// mean no name are left out.
func (r Rules) Repos(patterns []string) []string {
	return each(patterns, r.RepoPossible, func(pattern string) string {
		owner, name, found := strings.Cut(pattern, "/")
		if found && r.owner != "" && Match(strings.ToLower(owner), r.owner) {
			pattern = name
		}
		return r.Repo(pattern)
	})
}

// Denied is [Rules.Repos] for the patterns of a Deny, each of which also means the folders that it begins with, and what
// lies below it.
func (r Rules) Denied(patterns []string) []string {
	if r.parts > 0 {
		patterns = folders(patterns, r.parts)
	}
	return r.Repos(patterns)
}

// Environments is Repos for environments.
func (r Rules) Environments(patterns []string) []string {
	return each(patterns, r.EnvironmentPossible, r.Environment)
}

func each(patterns []string, possible func(string) bool, spell func(string) string) []string {
	var all []string
	for _, pattern := range patterns {
		if one := spell(pattern); possible(pattern) && !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// repoSpelling goes on after "in one spelling, ".
func (r Rules) repoSpelling() string {
	if r.owner == "" {
		return "in lower case"
	}
	return "in lower case and without its owner"
}

// all are the names by which a policy can mean a repository: its own, and the one with its owner in front.
func (r Rules) all(repo string) []string {
	repo = r.Repo(repo)
	if r.owner == "" || strings.Contains(repo, "/") {
		return []string{repo}
	}
	return []string{repo, r.owner + "/" + repo}
}

// Alike reports whether two names could mean one repository to some back end: they differ in case alone, or one has
// an owner in front that the other leaves out. It is for whoever looks for all that there is of a repository.
func Alike(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == b || strings.HasSuffix(a, "/"+b) || strings.HasSuffix(b, "/"+a)
}

// Asked are the names of one request, as its capability's back end reads them.
type Asked struct {
	rules       Rules
	repos       []string
	environment string
}

// Read reads the names of a request.
func (r Rules) Read(repo, environment string) Asked {
	return Asked{rules: r, repos: r.all(repo), environment: r.Environment(environment)}
}

// RepoAmong reports whether one of the patterns means the request's repository. Widely compares without case even
// where the back end tells case apart, and takes a pattern of more or fewer parts for the folders that it begins with,
// so that no spelling takes a name past a Deny: a Deny of acme/payments holds for acme, and one of acme for
// acme/payments.
func (a Asked) RepoAmong(patterns []string, widely bool) bool {
	folded := widely || !a.rules.repoCased
	if widely && a.rules.parts > 0 {
		patterns = folders(patterns, strings.Count(a.repos[0], "/")+1)
	}
	return slices.ContainsFunc(a.repos, func(name string) bool { return among(patterns, name, folded) })
}

// RepoKeys are keys by which the patterns can be found: whatever repository one of them means, for [Asked.RepoAmong] with the same widely,
// has a key of theirs. It reports false where one of them has none, and can mean repositories of any key.
func RepoKeys(patterns []string, widely bool) (keys []string, whole bool) {
	for _, pattern := range patterns {
		key := repoKey(pattern, widely)
		if strings.Contains(key, Any) {
			return nil, false
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, len(patterns) > 0
}

// RepoKeys are the keys of the request's repository.
func (a Asked) RepoKeys(widely bool) []string {
	var keys []string
	for _, name := range a.repos {
		if key := repoKey(name, widely); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// repoKey is a name in any case, and of folders the first.
func repoKey(name string, widely bool) string {
	if widely {
		name, _, _ = strings.Cut(name, "/")
	}
	return strings.ToLower(name)
}

// folders makes each pattern one of so many parts: of a longer one the first parts, of a shorter one all that lies
// below it.
func folders(patterns []string, parts int) []string {
	all := make([]string, len(patterns))
	for i, pattern := range patterns {
		split := strings.Split(pattern, "/")
		for pattern != Any && len(split) < parts {
			split = append(split, Any)
		}
		all[i] = strings.Join(split[:min(len(split), parts)], "/")
	}
	return all
}

// EnvironmentAmong is RepoAmong for the request's environment.
func (a Asked) EnvironmentAmong(patterns []string, widely bool) bool {
	return among(patterns, a.environment, widely || !a.rules.environmentCased)
}

func among(patterns []string, name string, folded bool) bool {
	if folded {
		name = strings.ToLower(name)
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if folded {
			pattern = strings.ToLower(pattern)
		}
		return Match(pattern, name)
	})
}

// RepoPossible reports whether some request could name a repository that the pattern means.
func (r Rules) RepoPossible(pattern string) bool {
	if pattern == Any {
		return true
	}
	if checkRepoForm(example(pattern)) != nil || !r.fits(pattern) || !r.takes(pattern) {
		return false
	}
	if owner, name, found := strings.Cut(pattern, "/"); found && r.owner != "" {
		return !strings.Contains(name, "/") && Match(strings.ToLower(owner), r.owner) && r.serves(name)
	}
	return r.serves(pattern)
}

// takes reports whether no part of what a pattern means must begin as an international name does, where none may.
func (r Rules) takes(pattern string) bool {
	return r.international || !hasInternational(strings.ToLower(pattern))
}

// fits reports whether a repository's name has as many parts as it must.
func (r Rules) fits(repo string) bool { return r.parts == 0 || strings.Count(repo, "/")+1 == r.parts }

// EnvironmentPossible reports whether some request could name an environment that the pattern means.
func (r Rules) EnvironmentPossible(pattern string) bool {
	example := example(pattern)
	return len(example) <= LongestEnvironment && environmentForm.MatchString(example) && r.takes(pattern)
}

// example is a name that a pattern means. If the pattern means any name that is allowed, then this one.
func example(pattern string) string { return strings.ReplaceAll(pattern, Any, "a") }

// Where says where in a name a text stands.
type Where int

const (
	// Whole is for a text that is the name.
	Whole Where = iota
	// Beginning is for one that the name begins with, Ending for one that it ends with, Within for any piece of it.
	Beginning
	Ending
	Within
)

// RepoReads reports whether the text can stand there in the name of a request's repository.
func (r Rules) RepoReads(text string, where Where) bool {
	served := r.serves(where.pattern(text))
	r.served = "" // what is put around a text need not be served
	return served && slices.ContainsFunc(where.around(text, max(r.parts, 1)), func(name string) bool {
		return r.Repo(name) == name && r.RepoPossible(name)
	})
}

// EnvironmentReads is RepoReads for the request's environment.
func (r Rules) EnvironmentReads(text string, where Where) bool {
	return slices.ContainsFunc(where.around(text, 1), func(name string) bool {
		return r.Environment(name) == name && r.EnvironmentPossible(name)
	})
}

func (w Where) pattern(text string) string {
	if w == Ending || w == Within {
		text = Any + text
	}
	if w == Beginning || w == Within {
		text += Any
	}
	return text
}

// around are names of up to so many parts that have the text there. If any name has it, one of them does.
func (w Where) around(text string, parts int) []string {
	before, after := []string{""}, []string{""}
	for n := range parts {
		folders := strings.Repeat("a/", n)
		if w == Ending || w == Within {
			before = append(before, folders+"a", folders+"a/")
		}
		if w == Beginning || w == Within {
			after = append(after, "a"+strings.Repeat("/a", n), strings.Repeat("/a", n+1))
		}
	}
	var all []string
	if strings.Contains(text, Any) {
		return nil // Here a star is a star, which no name has.
	}
	for _, one := range before {
		for _, other := range after {
			all = append(all, one+text+other)
		}
	}
	return all
}
