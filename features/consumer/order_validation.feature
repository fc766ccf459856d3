@consumer
Feature: Orders are those of registered consumers
  Before an order is approved, the consumer service says whether its consumer is known.

  Background:
    Given the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |

  @policy
  Scenario: An order of a registered consumer
    Given the consumer "Ada"
    When "Ada" orders at "Ajanta":
      | dish             | quantity |
      | Chicken Vindaloo | 1        |
    Then the order is approved

  @policy
  Scenario: An order of somebody who never registered
    Given "Zoe", who never registered
    When "Zoe" orders at "Ajanta":
      | dish             | quantity |
      | Chicken Vindaloo | 1        |
    Then the order is rejected because "consumer not found"
    And the order has no ticket in the kitchen

  @policy
  Scenario: An order of a consumer whose registration was only just made
    When a consumer registers with the name "Ada"
    And "Ada" orders at "Ajanta":
      | dish             | quantity |
      | Chicken Vindaloo | 1        |
    Then the order is approved
    And "Ada" has $12.34 authorized
