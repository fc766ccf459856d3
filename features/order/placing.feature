@order
Feature: Placing an order
  A consumer orders from a restaurant's menu. The order waits for approval until the consumer, the kitchen and the account
  have agreed.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |
      | Tap Water        | 0.00  |

  Rule: An order takes dishes and prices from the menu

    @command
    Scenario: An order of one dish
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      Then the order is approved
      And the order is one of "Ada" at "Ajanta"
      And the order costs $12.34
      And the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 1        |

    @command
    Scenario: An order of several dishes
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Garlic Naan      | 4        |
        | Chicken Vindaloo | 2        |
        | Tap Water        | 1        |
      Then the order is approved
      And the order costs $38.68
      And the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 2        |
        | Garlic Naan      | 3.50  | 4        |
        | Tap Water        | 0.00  | 1        |

    @command
    Scenario: The same consumer may order again
      Given "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      When "Ada" orders "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the order "dinner" is approved
      And the order "dinner" costs $7.00
      And the order "lunch" costs $3.50

    @command @own_system
    Scenario: Until all have agreed, an order waits for approval
      Given the accounting service is away
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then the order is waiting for approval
      And the order has no ticket

  Rule: What can't be is refused at once

    @command
    Scenario: A restaurant that does not exist
      Given the restaurant "Nowhere", which does not exist
      When "Ada" orders at "Nowhere":
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then it is refused because "restaurant not found"

    @command
    Scenario: A dish that is not on the menu
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
        | Pizza       | 1        |
      Then it is refused because "menu item not found"

    @command
    Scenario: An order that costs nothing
      When "Ada" orders at "Ajanta":
        | dish      | quantity |
        | Tap Water | 3        |
      Then it is refused because "order total does not meet the minimum"

    @command
    Scenario: An order of nothing
      When "Ada" orders nothing at "Ajanta"
      Then it is refused because the quantities are not valid

    @command
    Scenario Outline: <quantity> of a dish
      When "Ada" orders <quantity> of "Garlic Naan" at "Ajanta"
      Then it is refused because the quantities are not valid

      Examples:
        | quantity |
        | 0        |
        | -1       |
        | 10001    |

    @command
    Scenario: A delivery in the past
      When "Ada" orders at "Ajanta" for delivery 10 minutes ago:
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then it is refused because "delivery time is in the past"

    @command
    Scenario: A clock that is a little slow does no harm
      When "Ada" orders at "Ajanta" for delivery 4 minutes ago:
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then the order is approved

  @query
  Scenario: Looking up an order that does not exist
    Given the order "lost", which does not exist
    When the order "lost" is looked up
    Then it is refused because "order not found"
