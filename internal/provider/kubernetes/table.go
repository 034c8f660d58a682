// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// effect is what a right means for whoever holds it. Except for harmless and shared, it is what a capability has to
// accept.
type effect string

const (
	// harmless: the right gives what its line in the scope says, and nothing else, where it is bound in an ordinary
	// namespace.
	harmless effect = "harmless"
	// shared: every cluster gives the right to every ServiceAccount, so it is not part of a scope.
	shared effect = "shared"
	// escalates: the right leads to rights that its line in the scope does not say.
	escalates = effect(v1alpha1.AcceptEscalation)
	// disrupts: the right ends, holds up or falsifies what others run, and gives no rights. A controller may start again
	// what was ended, but which Pod template it runs, and how often, stays as its workload says.
	disrupts = effect(v1alpha1.AcceptDisruption)
	// opens: what was opened with the right goes on when the token works no more. Such a right is looked up by itself,
	// beside what it gives.
	opens = effect(v1alpha1.AcceptOpenConnections)
)

// Verbs that the rows of the table share.
const (
	reads   = "get list watch"
	shapes  = "create update patch"
	removes = "delete deletecollection"
	writes  = shapes + " " + removes
	every   = reads + " " + writes
)

// anyKind is what a row names that is about verbs alone.
const anyKind = "*"

// row is what is known of some verbs on some kinds.
type row struct {
	// kinds are separated by spaces, in kubectl's form: deployments/scale.apps. A URL begins with a slash.
	kinds string
	// verbs are separated by spaces. One that ends with * stands for all that begin so.
	verbs  string
	effect effect
	// words say why the right is harmless, or what it leads to.
	words string
}

// table is what is known of rights.
type table []entry

// entry is one kind of one row.
type entry struct {
	kind
	*row
}

// kind is one kind of the API, or a URL outside of it. In a rule of a role each part can be a wildcard.
type kind struct{ group, resource, subresource, url string }

// known is all that is known of what rights give. What has no row in it is not known, and so not harmless.
func known() table { return tabled(rows()) }

// opening is which rights open what goes on after the grant's end.
func opening() table { return tabled(openingRows()) }

func tabled(rows []row) table {
	var all table
	for _, r := range rows {
		for _, name := range strings.Fields(r.kinds) {
			all = append(all, entry{parseKind(name), &r})
		}
	}
	return all
}

func rows() []row {
	return slices.Concat(everybodysRows(), verbRows(), secretRows(), podRows(), workloadRows(), configurationRows(),
		networkRows(), viewRows(), clusterRows(), nodeRows(), identityRows(), admissionRows(), storageRows(), deviceRows(),
		urlRows(), valetkeyRows())
}

func parseKind(name string) kind {
	if strings.HasPrefix(name, "/") {
		return kind{url: name}
	}
	name, group, _ := strings.Cut(name, ".")
	return newKind(group, name)
}

func newKind(group, name string) kind {
	resource, subresource, _ := strings.Cut(name, "/")
	return kind{group: group, resource: resource, subresource: subresource}
}

// String is the form that kubectl takes.
func (k kind) String() string {
	if k.url != "" {
		return k.url
	}
	name := k.resource
	if k.subresource != "" {
		name += "/" + k.subresource
	}
	if k.group != "" {
		name += "." + k.group
	}
	return name
}

// matches reports whether a kind of a rule takes in one that is known, as RBAC compares them. RBAC ignores pods/*; here
// it takes in what whoever wrote it meant.
func (k kind) matches(known kind) bool {
	if k.url != "" || known.url != "" {
		prefix, wild := strings.CutSuffix(k.url, "*")
		return k.url == known.url || wild && known.url != "" && strings.HasPrefix(known.url, strings.TrimRight(prefix, "*"))
	}
	part := func(pattern, value string) bool { return pattern == "*" || pattern == value }
	if !part(k.group, known.group) || !part(k.resource, known.resource) {
		return false
	}
	all := k.resource == "*" && k.subresource == ""
	return all || k.subresource == known.subresource || k.subresource == "*" && known.subresource != ""
}

// wild reports whether a kind of a rule takes in what may not exist yet. A URL that the table has as it stands, such as
// /api/*, does not.
func (t table) wild(k kind) bool {
	if k.url != "" {
		return strings.HasSuffix(k.url, "*") && !slices.ContainsFunc(t, func(e entry) bool { return e.kind == k })
	}
	return k.group == "*" || k.resource == "*" || k.subresource == "*"
}

// has reports whether the row is about the verb.
func (r *row) has(verb string) bool {
	for known := range strings.FieldsSeq(r.verbs) {
		prefix, some := strings.CutSuffix(known, "*")
		if known == verb || some && strings.HasPrefix(verb, prefix) {
			return true
		}
	}
	return false
}

// of returns what is known of a kind that may be a wildcard.
func (t table) of(k kind) table {
	return slices.DeleteFunc(slices.Clone(t), func(e entry) bool { return e.resource == anyKind || !k.matches(e.kind) })
}

// find returns what is known of one verb on one kind; nil if nothing is.
func (t table) find(verb string, k kind) *row {
	for _, e := range t {
		if e.has(verb) && (e.resource == anyKind || k.matches(e.kind)) {
			return e.row
		}
	}
	return nil
}
