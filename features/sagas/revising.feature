@saga @order
Feature: An order is revised everywhere or nowhere
  To revise an order, the kitchen stops work on its ticket, then the account authorizes the new total; then the quantities
  change everywhere. When the kitchen or the account says no, everything is again as it was.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |
    And "Ada" has ordered at "Ajanta":
      | dish             | quantity |
      | Chicken Vindaloo | 1        |
      | Garlic Naan      | 2        |

  Rule: All agree

    Scenario: An order is revised everywhere
      Given the kitchen has accepted the order
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 3        |
        | Garlic Naan      | 0        |
      Then the order costs $37.02
      And the order is approved
      And the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 3        |
      And the ticket of the order is accepted
      And the ticket of the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 3        |
      And "Ada" has $37.02 authorized
      And the history shows that the order costs $37.02
      And the history shows that the order contains:
        | dish             | price | quantity |
        | Chicken Vindaloo | 12.34 | 3        |

    Scenario: And revised once more
      Given "Ada" has revised the order to:
        | dish        | quantity |
        | Garlic Naan | 4        |
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then the order costs $15.84
      And the order is approved
      And "Ada" has $15.84 authorized
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 1        |

  Rule: Who says no ends it, and everything is as it was

    Scenario: The kitchen has begun: the account is not asked
      Given the kitchen has started preparing the order
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order is approved
      And the order costs $19.34
      And the ticket of the order is being prepared
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |
      And "Ada" has $19.34 authorized
      And the history shows the order as approved

    Scenario: The account refuses: the kitchen goes on as before
      Given the kitchen has accepted the order
      And the account of "Ada" has been disabled
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order is approved
      And the order costs $19.34
      And the ticket of the order is accepted
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |
      And "Ada" has $19.34 authorized

    Scenario: What was refused leaves no trace in the next revision
      Given the account of "Ada" has been disabled
      And "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      And the order is approved
      And the account of "Ada" has been enabled again
      When "Ada" revises the order to:
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order costs $31.68
      And the order is approved
      And "Ada" has $31.68 authorized
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
        | Garlic Naan      | 2        |

    @own_system
    Scenario: What was done is undone in reverse: the order waits until the kitchen goes on
      Given the kitchen has accepted the order
      And the account of "Ada" has been disabled
      And the accounting service is away
      And "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      And the ticket of the order is being revised
      When the kitchen service goes away
      And the accounting service is back
      Then the order is still being revised
      When the kitchen service is back
      Then the order is approved
      And the ticket of the order is accepted

  Rule: Who is away is waited for

    @own_system
    Scenario Outline: The <service> service is away for a while
      Given the <service> service is away
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order is being revised
      And the order costs $19.34
      When the <service> service is back
      Then the order costs $29.84
      And the order is approved
      And "Ada" has $29.84 authorized

      Examples:
        | service    |
        | kitchen    |
        | accounting |

    @own_system
    Scenario: Once the account has authorized the new total, nothing can stop a revision
      Given the accounting service is away
      And "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      And the ticket of the order is being revised
      When the kitchen service goes away
      And the accounting service is back
      Then "Ada" has $29.84 authorized
      And the order is still being revised
      When the account of "Ada" is disabled
      And the kitchen service is back
      Then the order is approved
      And the order costs $29.84
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 5        |

    @own_system
    Scenario: A kitchen that refuses after that is asked again until it agrees
      Given the accounting service is away
      And "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      And the ticket of the order is being revised
      And the kitchen service has mislaid the ticket of the order
      When the accounting service is back
      Then "Ada" has $29.84 authorized
      And the order is still being revised
      When the kitchen service finds the ticket of the order again
      Then the order is approved
      And the order costs $29.84
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 5        |
