@accounting
Feature: Authorizations
  Every order is authorized with its total before it is approved. What is authorized for a consumer is at any time what
  the standing orders cost together.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |

  Rule: What stands is what the orders cost

    @policy
    Scenario: An order is authorized with its total
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
        | Garlic Naan      | 1        |
      Then the order is approved
      And "Ada" has $28.18 authorized

    @policy
    Scenario: Orders add up
      Given "Ada" has ordered "lunch" at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      When "Ada" orders "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 4        |
      Then the order "dinner" is approved
      And "Ada" has $26.34 authorized

    @policy
    Scenario: Each consumer's orders are authorized on their own account
      Given the consumer "Grace"
      And "Ada" has ordered "lunch" at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      When "Grace" orders "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then "Grace" has $3.50 authorized
      And "Ada" has $12.34 authorized

    @policy
    Scenario: A cancelled order's authorization is reversed
      Given "Ada" has ordered "lunch" at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      And "Ada" has ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      When "Ada" cancels the order "lunch"
      Then the order "lunch" is cancelled
      And "Ada" has $3.50 authorized

    @policy
    Scenario Outline: A revised order is authorized with its new total: <naans> naans
      Given "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | <naans>  |
      Then the order costs <total>
      And the order is approved
      And "Ada" has <total> authorized

      Examples:
        | naans | total  |
        | 0     | $12.34 |
        | 1     | $15.84 |
        | 2     | $19.34 |
        | 5     | $29.84 |

    @policy
    Scenario: A cancellation reverses the total as it was revised
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has revised the order to:
        | dish        | quantity |
        | Garlic Naan | 6        |
      When "Ada" cancels the order
      Then the order is cancelled
      And "Ada" has $0.00 authorized

  Rule: A disabled account refuses

    @policy
    Scenario: A new order
      Given the account of "Ada" has been disabled
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      Then the order is rejected because "account is disabled"
      And "Ada" has $0.00 authorized

    @policy
    Scenario: A cancellation: what is authorized stays
      Given "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      And the account of "Ada" has been disabled
      When "Ada" cancels the order
      Then the order is approved
      And "Ada" has $12.34 authorized

    @policy
    Scenario: A revision: what is authorized stays
      Given "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      And the account of "Ada" has been disabled
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 3        |
      Then the order is approved
      And the order costs $12.34
      And "Ada" has $12.34 authorized

    @policy
    Scenario: Enabled again, it authorizes again
      Given the account of "Ada" has been disabled
      And the account of "Ada" has been enabled again
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      Then the order is approved
      And "Ada" has $12.34 authorized
