// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// sayWhatCounts adds to the lines of variables which of several of one name counts, and for what.
//
// The kubelet goes through the list once. It replaces $(NAME) in a value by the nearest variable of that name above it,
// and the process has the last one of each name. One that is optional, and whose key is not found, is left out. Source:
// makeEnvironmentVariables of the kubelet of Kubernetes 1.37.
func (r *reading) sayWhatCounts(pod *corev1.PodSpec) {
	for _, c := range containers(pod) {
		places, readers := map[string][]int{}, map[string][]int{}
		for i, e := range c.Env {
			places[e.Name] = append(places[e.Name], i)
			for _, name := range slices.Compact(slices.Sorted(slices.Values(references(e.Value)))) {
				readers[name] = append(readers[name], i)
			}
		}
		for name, all := range places {
			v := variables{env: c.Env, name: name, places: all, readers: readers[name]}
			for n, i := range all {
				if at, shown := r.at[place{c.Name, listElement{list: "env", name: name}.path(), i}]; shown {
					r.lines[at].Value += v.count(n)
				}
			}
		}
	}
}

// variables are those of one name in a container.
type variables struct {
	env  []corev1.EnvVar
	name string
	// places are where they stand in env, and readers where the values stand that have $(NAME). Both ascend.
	places, readers []int
}

// count says for what one of the variables counts. It is empty where nothing else in the list has to do with the name.
func (v variables) count(n int) string {
	end := v.end(n)
	above, below := v.readersUpTo(v.places[n], end)
	several, replaced := len(v.places) > 1, end < len(v.env)
	numbered := fmt.Sprintf("it is the variable %d of %d of this name", n+1, len(v.places))
	last := fmt.Sprintf("it is the last of %d variables of this name", len(v.places))
	switch {
	case replaced && len(below) == 0:
		return ", which does not count: " + numbered + ", and a later one replaces it"
	case several && slices.ContainsFunc(v.places, v.mayBeMissing):
		return ", which may count: " + numbered + ", and one that is optional and not found replaces no other"
	case replaced:
		return ", which counts only for " + v.referenceIn(below) + ": " + numbered + ", and a later one replaces it"
	case several && len(above) == 0:
		return ", which replaces the others: " + last
	case several:
		return ", which replaces the others, but not for " + v.referenceIn(above) + ": " + last
	case len(above) > 0:
		return ", which does not count for " + v.referenceIn(above)
	}
	return ""
}

// end is where a later variable of the name certainly replaces one of them; the end of the list if none does.
func (v variables) end(n int) int {
	for _, i := range v.places[n+1:] {
		if !v.mayBeMissing(i) {
			return i
		}
	}
	return len(v.env)
}

// readersUpTo are the values with $(NAME) that are expanded before the variable at a place is set, and those that are
// expanded afterwards, and not after its end. A variable's own value is expanded before it is set.
func (v variables) readersUpTo(at, end int) (before, after []int) {
	for _, i := range v.readers {
		switch {
		case i <= at:
			before = append(before, i)
		case i <= end:
			after = append(after, i)
		}
	}
	return before, after
}

// mayBeMissing reports whether the kubelet leaves the variable at a place out if its key is not found. Of what is not
// known to be always set it is assumed.
func (v variables) mayBeMissing(at int) bool {
	from := v.env[at].ValueFrom
	switch {
	case from == nil, from.FieldRef != nil, from.ResourceFieldRef != nil:
		return false
	case from.ConfigMapKeyRef != nil:
		return ptr.Deref(from.ConfigMapKeyRef.Optional, false)
	case from.SecretKeyRef != nil:
		return ptr.Deref(from.SecretKeyRef.Optional, false)
	}
	return true
}

// referenceIn is $(NAME), and the variables in whose values it stands.
func (v variables) referenceIn(readers []int) string {
	reference := "$(" + v.name + ")"
	if !plainName.MatchString(v.name) {
		reference = strconv.Quote(reference)
	}
	var names []string
	for _, i := range readers {
		names = append(names, plainOrQuoted(v.env[i].Name))
	}
	return reference + " in " + list(names)
}
