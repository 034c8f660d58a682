// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// Class says what a Job that wants a credential may do with one field of its spec.
type Class string

const (
	// Refused fields stay unset, or have one of the field's Values. Any other value could make the credential reach further, or work
	// longer, than was approved.
	Refused Class = "refused"
	// Reviewed fields are part of the digest, and are shown to whoever decides.
	Reviewed Class = "reviewed"
	// Input fields name something outside of the Job whose content can change. It has to be pinned, or a policy has to accept it.
	Input Class = "input"
	// Harmless fields are part of the digest, and not shown: nothing of them can be found in the Pod that is not shown
	// beside something else.
	Harmless Class = "harmless"
)

// Danger says how near to the credential a field is. People are shown the nearest first.
type Danger int

const (
	// NoDanger is that of fields which are not shown: no reviewed field's, and no input's.
	NoDanger Danger = iota
	// Program fields say what runs.
	Program
	// Content fields say what a program reads.
	Content
	// Network fields say whom a program talks to.
	Network
	// Identity fields say as whom it runs, and what else it holds.
	Identity
	// Placement fields say where, and for how long, it runs.
	Placement
	// Rest fields give nobody power. A program can look at them all the same, and do another thing for it.
	Rest
)

// String is the danger as a heading for people.
func (d Danger) String() string {
	return [...]string{"", "What runs", "What it reads", "Whom it talks to", "As whom it runs", "Where and how long it runs", "What else is set"}[d]
}

// Listing says whether a step that a capability's runner lists, or its Pod, may have a field.
type Listing int

const (
	// NotListed fields are not among those of a runner, so that such a step has none of them.
	NotListed Listing = iota
	// Listed fields are compared with those of the runner.
	Listed
	// AnyStep may have the field: it does not change what the step does.
	AnyStep
)

// Field is what is known of one field of the API types that a Job's spec is made of.
type Field struct {
	// Type and Name are those of the API, for example PodSpec and hostNetwork.
	Type, Name string
	// Class says what a Job may do with it.
	Class Class
	// Values are all that the field may have; any if there are none. One that ends with * allows whatever begins so.
	Values []string
	// Needed is set where leaving the field out means another value than the ones in Values.
	Needed bool
	// Default is what the API server writes where the field is left out. It is not shown.
	Default string
	// Danger orders what people are shown.
	Danger Danger
	// Runner says whether a step that a runner lists may have the field.
	Runner Listing
	// Written is set where the hold or the grant writes the field, so that no digest has it.
	Written bool
	// Why is the reason for the class. It goes on after the field's name and a colon.
	Why string
}

// Rule is the admission rule that holds the field, beside the operator: it refuses what the field may not have, or keeps it as it is.
func (f Field) Rule() string {
	if f.Class == Refused {
		return "valetkey-job-fields"
	}
	return "valetkey-jobs-frozen"
}

// Fields are all fields of the types that a Job's spec is made of, in the version of the Kubernetes API that this program is
// compiled against. A type below a refused field is left out: none of its fields can be set. A field of a Job that is not among them
// is refused.
func Fields() []Field {
	return slices.Concat(jobFields(), podFields(), placementFields(), containerFields(), variableFields(), probeFields(),
		securityFields(), volumeFields(), projectionFields())
}

// of says of which type fields are.
func of(typeName string, fields ...[]Field) []Field {
	all := slices.Concat(fields...)
	for i := range all {
		all[i].Type = typeName
	}
	return all
}

// refused fields stay unset.
func refused(why string, names ...string) []Field {
	return named(Field{Class: Refused, Why: why}, names)
}

// only is a refused field but for some values.
func only(name, why string, values ...string) []Field {
	return []Field{{Name: name, Class: Refused, Why: why, Values: values}}
}

// needed is a refused field but for some values, of which the API server's default is none.
func needed(name, why string, values ...string) []Field {
	return []Field{{Name: name, Class: Refused, Why: why, Values: values, Needed: true}}
}

// reviewed fields are shown.
func reviewed(danger Danger, why string, names ...string) []Field {
	return named(Field{Class: Reviewed, Danger: danger, Why: why}, names)
}

// input fields name what can change.
func input(why string, names ...string) []Field {
	return named(Field{Class: Input, Danger: Content, Why: why}, names)
}

// rest are fields that are shown last.
func rest(why string, names ...string) []Field {
	return anyStep(reviewed(Rest, why, names...))
}

// harmless fields are not shown.
func harmless(why string, names ...string) []Field {
	return named(Field{Class: Harmless, Runner: AnyStep, Why: why}, names)
}

// among limits fields to values, all of which are as good.
func among(fields []Field, values ...string) []Field {
	return each(fields, func(f *Field) { f.Values = values })
}

// unless does not show a value that the API server writes by itself.
func unless(fields []Field, value string) []Field {
	return each(fields, func(f *Field) { f.Default = value })
}

// anyStep lets a step that a runner lists have the fields.
func anyStep(fields []Field) []Field {
	return each(fields, func(f *Field) { f.Runner = AnyStep })
}

// notListed keeps a step that a runner lists from having fields which are harmless elsewhere.
func notListed(fields []Field) []Field {
	return each(fields, func(f *Field) { f.Runner = NotListed })
}

// listed fields are among those of a runner.
func listed(fields []Field) []Field {
	return each(fields, func(f *Field) { f.Runner = Listed })
}

// written fields are in no digest.
func written(fields []Field) []Field {
	return each(fields, func(f *Field) { f.Written = true })
}

func named(pattern Field, names []string) []Field {
	all := make([]Field, 0, len(names))
	for _, name := range names {
		pattern.Name = name
		all = append(all, pattern)
	}
	return all
}

func each(fields []Field, change func(*Field)) []Field {
	for i := range fields {
		change(&fields[i])
	}
	return fields
}
