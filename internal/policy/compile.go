// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// What expressions may cost, in the API server's units: a million is about a tenth of a second. Policies are evaluated for
// every request and, for as long as it lives, for every grant.
const (
	expressionCostLimit = 250_000
	policyCostLimit     = 1_000_000
)

// Compiler compiles policies. It is safe for concurrent use.
type Compiler struct {
	env   *cel.Env
	sizes sizes
	// anyCase and its functions are for the expressions of a Deny.
	anyCase   *cel.Env
	measuring measuring
	expansion *expansion
}

// NewCompiler returns a compiler whose expressions know the CEL libraries of Kubernetes 1.36 and the variables request,
// capability and job. An error means that the CEL environment itself cannot be built.
func NewCompiler() (*Compiler, error) {
	declared := variableTypes()
	options := environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0)}
	for _, name := range []string{variableRequest, variableCapability, variableJob} {
		options.EnvOptions = append(options.EnvOptions, cel.Variable(name, declared[name].CelType()))
		options.DeclTypes = append(options.DeclTypes, declared[name])
	}
	set, err := environment.MustBaseEnvSet(version.MajorMinor(1, 36)).Extend(options)
	if err != nil {
		return nil, fmt.Errorf("build the CEL environment: %w", err)
	}
	c := &Compiler{env: set.NewExpressionsEnv(), sizes: declared}
	if c.anyCase, err = withIndices(c.env); err != nil {
		return nil, fmt.Errorf("extend the CEL environment: %w", err)
	}
	natives, err := nativesOf(c.anyCase)
	if err != nil {
		return nil, fmt.Errorf("look up the CEL environment: %w", err)
	}
	c.measuring = measuring{natives: natives, functions: allFunctions()}
	if c.expansion, err = newExpansion(c.env); err != nil {
		return nil, fmt.Errorf("leave macros out of the CEL environment: %w", err)
	}
	return c, nil
}

// Compiled is one generation of a policy, ready to be evaluated. It is safe for concurrent use.
type Compiled struct {
	policy *v1alpha1.CapabilityPolicy
	when   []clause
	err    error
}

// clause is one expression of a policy.
type clause struct {
	program cel.Program
	usesJob bool
	message string
	// compares are the texts with which it compares names of the request.
	compares []comparison
	// opaque is set where it reads one in another form, and opaqueLets where a name that no request has could make it true.
	opaque, opaqueLets bool
	// reads are the fields of the request that it can read, and anyCase is set where it reads those with a name in any
	// case.
	reads   []string
	anyCase bool
}

// Err says why the policy cannot be evaluated: an expression does not compile, does not yield a bool, or could cost too much.
// Such an Allow allows nothing, and such a Deny refuses all that its other fields match.
func (c *Compiled) Err() error { return c.err }

// Leaving reports whether the policy is being deleted. Whoever deleted it has withdrawn what it allows, however long a
// finalizer or the garbage collector holds it; a Deny refuses until it is gone.
func (c *Compiled) Leaving() bool { return c.policy.DeletionTimestamp != nil }

// Compile compiles a policy. It never returns nil; see [Compiled.Err]. It keeps a copy: whoever stores a status has its object
// emptied and filled again, and a policy that is empty for a moment would refuse everything.
func (c *Compiler) Compile(p *v1alpha1.CapabilityPolicy) *Compiled {
	p = p.DeepCopy()
	compiled := &Compiled{policy: p}
	var problems []error
	if p.Spec.Effect != v1alpha1.EffectAllow && p.Spec.Effect != v1alpha1.EffectDeny {
		problems = append(problems, fmt.Errorf("effect %q is neither Allow nor Deny", p.Spec.Effect))
	}
	var total uint64
	for i, e := range p.Spec.When {
		made, cost, err := c.compile(e, p.Spec.Effect)
		if err != nil {
			problems = append(problems, fmt.Errorf("when[%d]: %w", i, err))
			continue
		}
		total += cost
		compiled.when = append(compiled.when, made)
	}
	if total > policyCostLimit {
		problems = append(problems, fmt.Errorf("the expressions together could cost %d, of at most %d", total, policyCostLimit))
	}
	compiled.err = errors.Join(problems...)
	return compiled
}

func (c *Compiler) compile(e v1alpha1.Expression, effect v1alpha1.PolicyEffect) (clause, uint64, error) {
	if err := c.expansion.check(e.Expression); err != nil {
		return clause{}, 0, err
	}
	ast, err := checked(c.env, e.Expression)
	if err != nil {
		return clause{}, 0, fmt.Errorf("the expression does not compile: %s", firstLine(err))
	}
	if ast.OutputType() != cel.BoolType {
		return clause{}, 0, fmt.Errorf("the expression yields %s, not bool", ast.OutputType())
	}
	cost, err := c.env.EstimateCost(ast, &library.CostEstimator{SizeEstimator: c.sizes})
	if err != nil {
		return clause{}, 0, fmt.Errorf("the expression's cost cannot be estimated: %s", firstLine(err))
	}
	if cost.Max > expressionCostLimit {
		return clause{}, 0, fmt.Errorf("the expression could cost %d, of at most %d", cost.Max, expressionCostLimit)
	}
	if err := c.measuring.functions.check(ast); err != nil {
		return clause{}, 0, err
	}
	if err := unfoldsWritten(ast); err != nil {
		return clause{}, 0, err
	}
	made := clause{usesJob: uses(ast, variableJob), message: e.Message, reads: fieldsRead(ast)}
	made.compares, made.opaque, made.opaqueLets = comparisons(ast)
	readsName := slices.Contains(made.reads, fieldRepo) || slices.Contains(made.reads, fieldEnvironment)
	if made.anyCase = effect != v1alpha1.EffectAllow && readsName; made.anyCase {
		made.program, err = c.inAnyCase(e.Expression)
	} else {
		made.program, err = c.env.Program(ast, cel.CostLimit(expressionCostLimit), cel.CostTracking(newCosts()),
			cel.CustomDecoratorV2(c.measuring.decorate), cel.CustomDecoratorV2(decorateMaking), cel.InterruptCheckFrequency(mostElements))
	}
	if err != nil {
		return clause{}, 0, fmt.Errorf("the expression cannot be prepared: %s", firstLine(err))
	}
	return made, cost.Max, nil
}

// checked is an expression whose types are known. CEL's own look at an optional element of a list panics if its type is not known.
func checked(env *cel.Env, expression string) (ast *cel.Ast, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("CEL cannot look at it: %v", problem)
		}
	}()
	ast, issues := env.Compile(expression)
	return ast, issues.Err()
}

// uses reports whether an expression refers to a variable.
func uses(ast *cel.Ast, variable string) bool {
	for _, reference := range ast.NativeRep().ReferenceMap() {
		if reference.Name == variable {
			return true
		}
	}
	return false
}

// firstLine leaves out the picture of the expression that CEL draws below its errors. What is left begins with line:column.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimPrefix(line, "ERROR: <input>:")
}

// quotedKey quotes the key that a message of CEL's says there is none of: an expression can have it from the request.
func quotedKey(message string) string {
	const missing = "no such key: "
	if key, found := strings.CutPrefix(message, missing); found {
		return missing + visible.Name(key)
	}
	return message
}

// answer is what an expression says.
type answer int

const (
	yes answer = iota
	no
	// later: it needs a Job that is not there yet, or what whoever asks has not said yet.
	later
	// failed: it ended in an error.
	failed
)

// awaited names what the expression reads and is not there yet.
func (c clause) awaited(vars map[string]any) []string {
	var all []string
	if _, there := vars[variableJob]; c.usesJob && !there {
		all = append(all, "the Job")
	}
	request := vars[variableRequest].(map[string]any)
	for _, field := range c.reads {
		if _, said := request[field]; !said {
			all = append(all, "request."+field)
		}
	}
	return all
}

func (c clause) eval(vars map[string]any) (answer, error) {
	if len(c.awaited(vars)) > 0 {
		return later, nil
	}
	if c.anyCase {
		vars = namesOfRequest(vars)
	}
	value, _, err := c.program.ContextEval(enough{}, counting(vars))
	switch {
	case err != nil:
		return failed, errors.New(quotedKey(firstLine(err)))
	case value == types.True, c.anyCase && types.IsUnknown(value):
		return yes, nil
	}
	return no, nil
}

func (c *Compiled) name() string { return c.policy.Name }

func (c *Compiled) reference() *v1alpha1.PolicyReference {
	return &v1alpha1.PolicyReference{Name: c.policy.Name, Generation: c.policy.Generation}
}

// allows reports whether the policy is an Allow. Anything else refuses.
func (c *Compiled) allows() bool { return c.policy.Spec.Effect == v1alpha1.EffectAllow }
