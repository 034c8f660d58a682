// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// rule is one of a credential access boundary.
type rule struct {
	bucket    string
	roles     []string
	condition cel.Program
}

// mostRules is how many a boundary can have.
const mostRules = 10

var resourceForm = regexp.MustCompile(`^//storage\.googleapis\.com/projects/_/buckets/([a-z0-9._-]+)$`)

// parse reads the options of an exchange as the Security Token Service does.
func parse(text string) ([]rule, error) {
	var options struct {
		AccessBoundary struct {
			AccessBoundaryRules []struct {
				AvailableResource     string                       `json:"availableResource"`
				AvailablePermissions  []string                     `json:"availablePermissions"`
				AvailabilityCondition *struct{ Expression string } `json:"availabilityCondition"`
			} `json:"accessBoundaryRules"`
		} `json:"accessBoundary"`
	}
	if json.Unmarshal([]byte(text), &options) != nil {
		return nil, errors.New("the options are no JSON")
	}
	asked := options.AccessBoundary.AccessBoundaryRules
	if len(asked) == 0 || len(asked) > mostRules {
		return nil, errors.New("the access boundary has between 1 and 10 rules")
	}
	rules := make([]rule, 0, len(asked))
	for _, a := range asked {
		found := resourceForm.FindStringSubmatch(a.AvailableResource)
		if found == nil || len(a.AvailablePermissions) == 0 {
			return nil, errors.New("a rule names a bucket of Cloud Storage and permissions")
		}
		r := rule{bucket: found[1]}
		for _, permission := range a.AvailablePermissions {
			role, in := strings.CutPrefix(permission, "inRole:")
			if !in || permissions(role) == nil {
				return nil, errors.New("no such role")
			}
			r.roles = append(r.roles, role)
		}
		if a.AvailabilityCondition != nil {
			condition, err := compile(a.AvailabilityCondition.Expression)
			if err != nil {
				return nil, errors.New("the condition cannot be compiled")
			}
			r.condition = condition
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// compile knows what conditions on objects are made of.
func compile(expression string) (cel.Program, error) {
	attributes := cel.MapType(cel.StringType, cel.StringType)
	env, err := cel.NewEnv(
		cel.Variable("resource", attributes), cel.Variable("api", attributes),
		cel.Function("getAttribute", cel.MemberOverload("api_get_attribute", []*cel.Type{attributes, cel.StringType, cel.StringType}, cel.StringType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				values, _ := args[0].Value().(map[string]string)
				key, _ := args[1].Value().(string)
				if value, found := values[key]; found {
					return types.String(value)
				}
				return args[2]
			}))),
	)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	return env.Program(ast)
}

// allows reports whether a rule lets a permission be used on an object, or on a listing by prefix.
func (r rule) allows(bucket, permission, object, prefix string) bool {
	if r.bucket != bucket || !has(r.roles, permission) {
		return false
	}
	if r.condition == nil {
		return true
	}
	name, attributes := "projects/_/buckets/"+bucket, map[string]string{}
	if object != "" {
		name += "/objects/" + object
	}
	if permission == "storage.objects.list" {
		attributes["storage.googleapis.com/objectListPrefix"] = prefix
	}
	holds, _, err := r.condition.Eval(map[string]any{"resource": map[string]string{"name": name}, "api": attributes})
	return err == nil && holds == types.True
}
