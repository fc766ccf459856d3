@accounting
Feature: Accounts
  Each consumer has one account. It may be disabled, and is then good for nothing until it is enabled again.

  Rule: A consumer's account follows the consumer

    @policy
    Scenario: Whoever registers gets an account
      When a consumer registers with the name "Ada"
      Then "Ada" has an account in the name of "Ada"
      And the account of "Ada" is enabled
      And "Ada" has $0.00 authorized

    @policy
    Scenario: The account takes the consumer's new name
      Given the consumer "Ada"
      When "Ada" changes their name to "Ada King"
      Then "Ada" has an account in the name of "Ada King"

    @policy
    Scenario: A renamed consumer's account stays disabled
      Given the consumer "Ada"
      And the account of "Ada" has been disabled
      When "Ada" changes their name to "Ada King"
      Then "Ada" has an account in the name of "Ada King"
      And the account of "Ada" is disabled

    @policy @own_system
    Scenario: A registration is not forgotten while accounting is away
      Given the accounting service is away
      When a consumer registers with the name "Ada"
      And "Ada" changes their name to "Ada King"
      And the accounting service is back
      Then "Ada" has an account in the name of "Ada King"

  Rule: An account can be disabled and enabled

    Background:
      Given the consumer "Ada"

    @command
    Scenario: Disabling an account
      When the account of "Ada" is disabled
      Then the account of "Ada" is disabled

    @command
    Scenario: Enabling it again
      Given the account of "Ada" has been disabled
      When the account of "Ada" is enabled
      Then the account of "Ada" is enabled

    @command
    Scenario: A disabled account can't be disabled
      Given the account of "Ada" has been disabled
      When the account of "Ada" is disabled
      Then it is refused because "account is disabled"
      And the account of "Ada" is disabled

    @command
    Scenario: An enabled account can't be enabled
      When the account of "Ada" is enabled
      Then it is refused because "account is enabled"

    @command
    Scenario: Disabling one account leaves the others as they are
      Given the consumer "Grace"
      When the account of "Ada" is disabled
      Then the account of "Grace" is enabled

  Rule: Who never registered has no account

    Background:
      Given "Zoe", who never registered

    @query
    Scenario: Looking up the account of a stranger
      When the account of "Zoe" is looked up
      Then it is refused because "account not found"

    @command
    Scenario: Disabling the account of a stranger
      When the account of "Zoe" is disabled
      Then it is refused because "account not found"

    @command
    Scenario: Enabling the account of a stranger
      When the account of "Zoe" is enabled
      Then it is refused because "account not found"
