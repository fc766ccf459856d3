@consumer
Feature: Consumers
  Whoever wants to order registers first. A name is all it takes.

  Rule: A consumer registers with a name

    @command
    Scenario: Registering
      When a consumer registers with the name "Ada"
      Then "Ada" is called "Ada"
      And "Ada" has no addresses

    @command
    Scenario: Two people with the same name
      Given the consumer "Ada"
      When another consumer, "the other Ada", registers with the name "Ada"
      Then "the other Ada" is called "Ada"
      And "Ada" and "the other Ada" are different consumers

    @command
    Scenario: Nobody registers without a name
      When a consumer registers without a name
      Then it is refused because "cannot register a consumer without a name"

    @command
    Scenario: Blanks are no name
      When a consumer registers with the name "   "
      Then it is refused because "cannot register a consumer without a name"

  Rule: A consumer may change their name

    @command
    Scenario: Changing the name
      Given the consumer "Ada"
      When "Ada" changes their name to "Ada King"
      Then "Ada" is called "Ada King"

    @command
    Scenario: A name can't be given up
      Given the consumer "Ada"
      When "Ada" changes their name to ""
      Then it is refused because "cannot register a consumer without a name"
      And "Ada" is called "Ada"

    @command
    Scenario: Only consumers who registered have a name to change
      Given "Zoe", who never registered
      When "Zoe" changes their name to "Zelda"
      Then it is refused because "consumer not found"

  @query
  Scenario: Looking up somebody who never registered
    Given "Zoe", who never registered
    When the consumer "Zoe" is looked up
    Then it is refused because "consumer not found"
