@order
Feature: Revising an order
  An approved order can be revised: other quantities of what was ordered. A quantity of 0 takes a dish off the order.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |
      | Tap Water        | 0.00  |

  Rule: An approved order can be revised

    Background:
      Given "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |
        | Tap Water        | 1        |

    @command
    Scenario: More of a dish
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 4        |
      Then the answer is that the order is being revised
      And the order costs $26.34
      And the order is approved
      And the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 1        |
        | Garlic Naan      | 3.50  | 4        |
        | Tap Water        | 0.00  | 1        |

    @command
    Scenario: Several dishes at once
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 3        |
        | Garlic Naan      | 1        |
      Then the order costs $40.52
      And the order is approved

    @command
    Scenario: A dish less
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 0        |
      Then the order costs $12.34
      And the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 1        |
        | Tap Water        | 0.00  | 1        |

    @command
    Scenario: A dish that was taken off can't be revised back
      Given "Ada" has revised the order to:
        | dish        | quantity |
        | Garlic Naan | 0        |
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then it is refused because "menu item not found"

    @command
    Scenario: Revising again
      Given "Ada" has revised the order to:
        | dish        | quantity |
        | Garlic Naan | 4        |
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order costs $38.68
      And the order is approved

    @command
    Scenario: To the quantities that it has
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the order is approved
      And the order costs $19.34

    @command
    Scenario: Not to dishes that were not ordered
      When "Ada" revises the order to:
        | dish  | quantity |
        | Pizza | 1        |
      Then it is refused because "menu item not found"
      And the order is still approved
      And the order costs $19.34

    @command
    Scenario: Not to nothing
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 0        |
        | Garlic Naan      | 0        |
        | Tap Water        | 0        |
      Then it is refused because "order total does not meet the minimum"
      And the order is still approved

    @command
    Scenario: Not to what costs nothing
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 0        |
        | Garlic Naan      | 0        |
      Then it is refused because "order total does not meet the minimum"
      And the order costs $19.34

    @command
    Scenario: Not to less than nothing
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | -1       |
      Then it is refused because the quantities are not valid
      And the order costs $19.34

  Rule: No other order can be revised

    @command
    Scenario: A cancelled one
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has cancelled the order
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      Then it is refused because "order state does not allow action"
      And the order costs $7.00

    @command
    Scenario: A rejected one
      Given the account of "Ada" has been disabled
      And "Ada" has just ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the order is rejected
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      Then it is refused because "order state does not allow action"

    @command @own_system
    Scenario: One that waits for approval
      Given the accounting service is away
      And "Ada" has just ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      Then it is refused because "order state does not allow action"
      And the order is still waiting for approval

    @command
    Scenario: One that does not exist
      Given the order "lost", which does not exist
      When "Ada" revises the order "lost" to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      Then it is refused because "order not found"
