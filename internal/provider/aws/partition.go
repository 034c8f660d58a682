// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// partitions are AWS's, by the form of their regions' names. Source: the partitions that AWS's SDKs come with.
var partitions = []struct {
	regions *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-[0-9]+$`), "aws"},
	{regexp.MustCompile(`^cn-`), "aws-cn"},
	{regexp.MustCompile(`^us-gov-`), "aws-us-gov"},
	{regexp.MustCompile(`^eusc-`), "aws-eusc"},
	{regexp.MustCompile(`^us-iso-`), "aws-iso"},
	{regexp.MustCompile(`^us-isob-`), "aws-iso-b"},
	{regexp.MustCompile(`^eu-isoe-`), "aws-iso-e"},
	{regexp.MustCompile(`^us-isof-`), "aws-iso-f"},
}

// regionForm is the form of the names of AWS's regions, in every partition: they end in a number.
var regionForm = regexp.MustCompile(`^[a-z]+(-[a-z]+)*-[0-9]+$`)

// checkRegion refuses names that AWS's SDKs take for something else than a region with an STS of its own: aws-global and
// its like stand for a whole partition, and one with the part fips for another region. A provider with an STS of its
// own can have any.
func checkRegion(p *v1alpha1.AWSProvider) error {
	isFIPS := slices.Contains(strings.Split(p.Region, "-"), "fips")
	if p.STSEndpoint != "" || regionForm.MatchString(p.Region) && !isFIPS {
		return nil
	}
	return fmt.Errorf("%s is not the name of one region of AWS, whose STS could be asked; "+
		"name one in the provider's spec.aws.region, such as us-east-1", p.Region)
}

// checkPartition refuses a role that the STS of the region cannot know, for it is in another partition. A region of no
// form that is known is not judged, and neither is one that an STS of one's own goes by.
func checkPartition(c *v1alpha1.AWSCapability, p *v1alpha1.AWSProvider) error {
	if p == nil || p.STSEndpoint != "" {
		return nil
	}
	for _, known := range partitions {
		if is := partition(c.RoleARN); known.regions.MatchString(p.Region) && is != known.name {
			return fmt.Errorf("role %s is of the partition %s, and the provider's region %s of %s: its STS knows no such role; "+
				"name a region of the role's partition in the provider's spec.aws.region", c.RoleARN, is, p.Region, known.name)
		}
	}
	return nil
}
